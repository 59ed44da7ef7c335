"""What a report tells of a layer that was factorized: its shape, its spectrum, its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from lrcompress.reporting.words import count, small


def changed_layers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the layers of a record or result that were changed in one of their forms, under one budget."""
    return [layer for layer in document["layers"] if layer.get("form") is not None]


def layers_changed(layers: Sequence[dict[str, Any]]) -> int:
    """Return how many layers get smaller; one may do so in two forms."""
    return len({layer.get("path") or layer["name"] for layer in layers})


def matrices(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the layers of a record or result whose kernel alone became two factors."""
    return [layer for layer in document["layers"] if layer.get("form") is None]


def spectrum_of(method: str) -> str | None:
    """Return which matrix a method truncates; None for one that goes on from a closed form, or is not known."""
    from lrcompress.lowrank import METHODS

    found = METHODS.get(method)
    return None if found is None or found.closed_form else found.spectrum_of


def with_spectrum(layer: dict[str, Any]) -> dict[str, Any] | None:
    """Return a layer whose spectrum can be drawn, None where its record tells too little."""
    sigma = layer.get("singular_values") or []
    if layer.get("form") is not None or len(sigma) < 2 or not sigma[0] > 0:
        return None
    if "energy" in layer:
        return layer
    # Older records have all values, or too few; those of refined heads were of another matrix than the kernel.
    of = spectrum_of(layer["method"])
    if of is None or len(sigma) != min(layer["kernel_shape"]):
        return None
    kept = list(accumulate((s / sigma[0]) ** 2 for s in sigma))
    return layer | {
        "singular_value_ranks": list(range(1, len(sigma) + 1)),
        "energy": [part / kept[-1] for part in kept],
        "spectrum_of": of,
    }


def break_even(layer: dict[str, Any]) -> int:
    """Return the largest rank at which a layer has fewer parameters than it had."""
    m, n = layer["kernel_shape"]
    bias = layer["parameters_after"] - layer["rank"] * (m + n)
    return int(max((layer["parameters_before"] - bias - 1) // (m + n), 0))


def energy_at(layer: dict[str, Any], rank: int) -> float | None:
    """Return the share of energy kept by a rank, where the record tells it."""
    return dict(zip(layer["singular_value_ranks"], layer["energy"], strict=False)).get(rank)


def spectral_pairs(layer: dict[str, Any]) -> list[tuple[int, float]]:
    """Return (rank, σ of the next rank over the largest) as far as the record tells them."""
    ranks, sigma = layer["singular_value_ranks"], layer["singular_values"]
    return [(r - 1, s / sigma[0]) for r, s in zip(ranks, sigma, strict=False) if r > 1]


def layers_name(layers: list[dict[str, Any]]) -> str:
    """Return what was factorized: the final layer, a hidden one by its name, several by number."""
    if len(layers) != 1:
        kind = " Dense" if all(layer.get("form") is None for layer in layers) else ""
        return f"{layers_changed(layers)}{kind} layers"
    (layer,) = layers
    # Records of before `is_head` are of final layers, as far as they tell.
    is_final = layer.get("form") is None and layer.get("is_head", True)
    return "final layer" if is_final else f"layer {layer['name']}"


def shape_of(layer: dict[str, Any]) -> str:
    """Return what a layer became: 256 × 10 → 256 × 4 × 10."""
    m, n = layer["kernel_shape"]
    return f"{count(m)} × {count(n)} → {count(m)} × {count(layer['rank'])} × {count(n)}"


def named_shape(layer: dict[str, Any]) -> str:
    """Return a layer's name and what it became, in letters that any terminal has."""
    m, n = layer["kernel_shape"]
    return f"{layer['name']}: Dense {m} x {n} -> {m} x {layer['rank']} x {n}"


def kernel_errors(layer: dict[str, Any]) -> str:
    """Return the errors of a factorized kernel, whatever its method minimises."""
    return (
        f"relative error of the kernel: Frobenius {small(layer['frobenius_error'])}, "
        f"spectral {small(layer['spectral_error'])}"
    )


def least_is_known(layer: dict[str, Any]) -> bool:
    """Return whether a layer's error has a known least: not once refinement has left least squares behind."""
    error, least = layer.get("minimised_error"), layer.get("minimised_optimum")
    return (
        error is None or error <= 1.001 * (least or 0.0) or spectrum_of(layer["method"]) is not None
    )


def certificate(layer: dict[str, Any]) -> str:
    """Return how near a layer comes to the best that its method could do at its rank."""
    # Older records measured every method against the kernel.
    what = layer.get("optimality_of") or "kernel"
    rank, error, least = layer["rank"], layer.get("minimised_error"), layer.get("minimised_optimum")
    if layer.get("exact"):
        return f"certificate: exact at rank {rank}, but for rounding ({layer['algorithm']})"
    if not least_is_known(layer):
        return (
            f"certificate: error of the {what} {small(error)}, {small(least)} by least squares at rank {rank}; "
            "refined minimises a different loss, whose optimum is not known"
        )
    return (
        f"certificate: {layer['optimality']:.6f} x the smallest possible error of the {what} at rank "
        f"{rank} ({layer['algorithm']})"
    )
