"""What a run record tells of the spectrum of a layer."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

# What each method truncates.
KERNELS = {"svd": "kernel", "centered": "mean-free kernel", "whitened": "whitened kernel"}


def with_spectrum(layer: dict[str, Any]) -> dict[str, Any] | None:
    """Return a layer whose spectrum can be drawn, None where its record tells too little.

    Records of before the energy was in them have all values, or only leading ones, which are not
    enough; those of refined heads were of another matrix than the kernel.
    """
    sigma = layer.get("singular_values") or []
    if len(sigma) < 2 or not sigma[0] > 0:
        return None
    if "energy" in layer:
        return layer
    if layer["method"] not in KERNELS or len(sigma) != min(layer["kernel_shape"]):
        return None
    kept = list(accumulate((s / sigma[0]) ** 2 for s in sigma))
    return layer | {
        "singular_value_ranks": list(range(1, len(sigma) + 1)),
        "energy": [part / kept[-1] for part in kept],
        "spectrum_of": KERNELS[layer["method"]],
    }


def break_even(layer: dict[str, Any]) -> int:
    """Return the largest rank at which a layer has fewer parameters than it had."""
    m, n = layer["kernel_shape"]
    bias = layer["parameters_after"] - layer["rank"] * (m + n)
    return int(max((layer["parameters_before"] - bias - 1) // (m + n), 0))


def energy_at(layer: dict[str, Any], rank: int) -> float | None:
    """Return the share of energy kept by a rank, where the record tells it."""
    found = dict(zip(layer["singular_value_ranks"], layer["energy"], strict=False))
    return found.get(rank)


def spectral_pairs(layer: dict[str, Any]) -> list[tuple[int, float]]:
    """Return (rank, σ of the next rank over the largest) as far as the record tells them."""
    ranks, sigma = layer["singular_value_ranks"], layer["singular_values"]
    return [(r - 1, s / sigma[0]) for r, s in zip(ranks, sigma, strict=False) if r > 1]
