"""The figures of docs/methods.md and docs/mathematics.md, computed from the bundled network and images of digits."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import lrcompress
from drawing.sheet import BLUE, GREEN, INK, METHODS, ORANGE, PINK, SKY, SOFT, Drawing, plain_log
from lrcompress.lowrank import InputMoments, Problem, break_even_rank, factorize_ranks

MODEL = Path(__file__).parent.parent.parent / "examples" / "digits_cnn.h5"
RANK = 4

Array = NDArray[np.float64]


def drawings() -> list[Drawing]:
    """Return all of them."""
    return [two_layers(), spectrum(), weighing()]


@cache
def weights() -> dict[str, tuple[Array, Array]]:
    """Return kernel and bias of each layer of the network, in float64."""
    with h5py.File(MODEL) as file:
        group = file["model_weights"]
        return {
            name: tuple(
                np.asarray(group[f"{name}/digits_cnn/{name}/{part}"], np.float64)
                for part in ("kernel", "bias")
            )
            for name in ("conv2d", "conv2d_1", "dense", "predictions")
        }  # type: ignore[misc]


def features() -> Array:
    """Return what flows into the final layer for each training image, (1437, 256)."""
    with np.load(Path(lrcompress.__file__).parent / "data" / "digits.npz") as data:
        x = data["x_train"].astype(np.float64)[..., None] / 16
    for name in ("conv2d", "conv2d_1"):
        kernel, bias = weights()[name]
        windows = sliding_window_view(x, (3, 3), axis=(1, 2))
        x = np.maximum(np.einsum("nhwcij,ijcf->nhwf", windows, kernel, optimize=True) + bias, 0)
    # The largest of 2 x 2, then flat.
    count, high, wide, channels = x.shape
    x = x.reshape(count, high // 2, 2, wide // 2, 2, channels).max(axis=(2, 4)).reshape(count, -1)
    kernel, bias = weights()["dense"]
    return np.maximum(x @ kernel + bias, 0)


def rounded(values: Any, digits: int = 4) -> list[Any]:  # noqa: ANN401
    """Return numbers to so many digits: other machines round the last ones differently."""
    return [rounded(v, digits) if np.ndim(v) else float(f"{v:.{digits}g}") for v in values]


def two_layers() -> Drawing:
    """Return what one Dense layer becomes, at the sizes of the bundled network's."""
    m, n = weights()["predictions"][0].shape
    numbers = {"m": m, "n": n, "r": RANK}
    before, after = m * n, RANK * (m + n)
    alt = (
        f"A kernel A of {m} x {n}, tall, is replaced by B of {m} x {RANK}, tall and narrow, times C of {RANK} x {n}, short: "
        f"{before:,} numbers become {m * RANK:,} + {RANK * n} = {after:,}. The bias stays with the second layer."
    )
    return Drawing("two-layers", alt, numbers, _draw_two_layers, (8.0, 3.5))


def _draw_two_layers(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    from matplotlib.patches import Rectangle

    m, n, r = (numbers[key] for key in "mnr")
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_aspect("equal")
    axis.set_xlim(0, 100)
    axis.set_ylim(-6, 37.5)
    # Not to scale: 256 rows would leave no width for 4 columns.
    tall, wide, thin = 26.0, 12.0, 5.0

    def matrix(x: float, top: float, width: float, height: float, color: str, name: str) -> None:
        axis.add_patch(
            Rectangle((x, top - height), width, height, facecolor=color, alpha=0.25, linewidth=0)
        )
        axis.add_patch(
            Rectangle(
                (x, top - height), width, height, facecolor="none", edgecolor=color, linewidth=1.5
            )
        )
        axis.text(
            x + width / 2,
            top - height / 2,
            name,
            ha="center",
            va="center",
            fontsize=14,
            style="italic",
        )

    def words(x: float, y: float, text: str, **options: Any) -> None:  # noqa: ANN401
        axis.text(x, y, text, **({"ha": "center", "va": "center"} | options))

    top = 30.0
    matrix(18, top, wide, tall, ORANGE, "A")
    words(24, top + 2, f"n = {n}")
    words(17, top - tall / 2, f"m = {m}", rotation=90, ha="right")
    words(24, 36, "Dense(n), as trained", weight="bold")
    words(7, top - tall / 2, "x", fontsize=14, style="italic")
    words(37, top - tall / 2, "+ b", fontsize=12)
    words(24, 1, f"z = x A + b\nm n = {m * n:,} numbers", va="top")

    words(46.5, top - tall / 2, "≈", fontsize=22)

    matrix(60, top, thin, tall, BLUE, "B")
    matrix(69, top - tall / 2 + thin / 2, wide, thin, GREEN, "C")
    words(62.5, top + 2, f"r = {r}")
    words(59, top - tall / 2, f"m = {m}", rotation=90, ha="right")
    words(75, top - tall / 2 + thin / 2 + 2, f"n = {n}")
    words(82, top - tall / 2, f"r = {r}", ha="left")
    words(53, top - tall / 2, "x", fontsize=14, style="italic")
    words(92, top - tall / 2, "+ b", fontsize=12)
    words(71.5, 36, "Dense(r, no bias), then Dense(n)", weight="bold")
    saved = 1 - r * (m + n) / (m * n)
    words(
        71.5, 1, f"z = (x B) C + b\nm r + r n = {m * r:,} + {r * n:,} = {r * (m + n):,} numbers, {100 * saved:.0f} % fewer\n"
        f"fewer as long as r < m n / (m + n), here r ≤ {break_even_rank(m, n)}", va="top",
    )  # fmt: skip


def spectrum() -> Drawing:
    """Return singular values, energy and what a truncation leaves over."""
    kernel, _ = weights()["predictions"]
    sigma = np.linalg.svd(kernel, compute_uv=False)
    numbers = {"sigma": rounded(sigma), "rank": RANK, "even": break_even_rank(*kernel.shape)}
    squares = np.square(numbers["sigma"])
    kept = squares[:RANK].sum() / squares.sum()
    alt = (
        f"Left: squared singular values of the digits network's head fall from {squares[0]:.1f} to {squares[-1]:.1f}; the first {RANK} "
        f"are kept, the tail is the squared error. Right: energy and error by rank; rank {RANK} keeps {100 * kept:.0f} % of the "
        f"energy and leaves an error of {100 * np.sqrt(1 - kept):.0f} %; ranks up to {numbers['even']} save parameters."
    )
    return Drawing("spectrum", alt, numbers, _draw_spectrum, (8.0, 3.5))


def _draw_spectrum(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    left, right = figure.subplots(1, 2)
    squares, rank, even = np.square(numbers["sigma"]), numbers["rank"], numbers["even"]
    ranks = np.arange(1, len(squares) + 1)
    left.bar(
        ranks[:rank],
        squares[:rank],
        color=BLUE,
        width=0.9,
        label=f"kept at rank {rank}: energy {squares[:rank].sum():.1f}",
    )
    left.bar(ranks[rank:], squares[rank:], color=ORANGE, width=0.9, hatch="///", edgecolor="white",
             label=f"tail: ‖A − BC‖² = {squares[rank:].sum():.1f}")  # fmt: skip
    left.set(xlabel="i", ylabel="σᵢ²")
    left.set_xticks(ranks)
    left.set_ylim(top=1.3 * squares[0])
    left.legend(loc="upper right")
    left.grid(axis="y")
    energy = np.concatenate([[0], np.cumsum(squares) / squares.sum()])
    error = np.sqrt(np.maximum(1 - energy, 0))
    steps = np.arange(len(energy))
    right.plot(steps, 100 * energy, color=BLUE, marker="o")
    right.plot(steps, 100 * error, color=ORANGE, marker="s")
    for values, text, above in ((energy, "energy kept", True), (error, "relative error", False)):
        right.annotate(text, (8, 100 * values[8]), xytext=(-6, 4 if above else -10), ha="right",
                       textcoords="offset points", color=BLUE if above else ORANGE)  # fmt: skip
    right.axvline(rank, color=PINK, linestyle="--", linewidth=1.2)
    right.axvline(even, color=SOFT, linestyle=":", linewidth=1.4)
    right.annotate(f"rank {rank}", (rank, 104), ha="center", color=INK)
    right.annotate(f"break-even: {even}", (even, 104), ha="center", color=SOFT)
    right.set(xlabel="rank", ylabel="%")
    right.set_xticks(steps)
    right.set_ylim(0, 112)
    right.set_yticks(range(0, 101, 20))
    right.grid()


def weighing() -> Drawing:
    """Return what centring leaves out, where inputs go, and what each method loses of the outputs."""
    kernel, bias = weights()["predictions"]
    inputs = features()
    n = kernel.shape[1]
    _, _, right = np.linalg.svd(kernel, full_matrices=False)
    blind = right.sum(axis=1) ** 2 / n
    left, sigma, _ = np.linalg.svd(kernel - kernel.mean(axis=1, keepdims=True), full_matrices=False)
    # After centring, n - 1 directions are left.
    cloud = (inputs - inputs.mean(axis=0)) @ left[:, [0, n - 2]]
    # Signs of singular vectors are anybody's choice.
    cloud *= np.where(cloud[np.abs(cloud).argmax(axis=0), [0, 1]] < 0, -1, 1)
    numbers = {
        "blind": rounded(100 * blind, 3),
        "cloud": rounded(cloud[::4], 3),
        "sigma": rounded(sigma[[0, n - 2]], 3),
        "variance": rounded(cloud.var(axis=0), 3),
        "lost": _lost(kernel, bias, inputs),
    }
    low = {method: values[RANK - 1] for method, values in numbers["lost"].items()}
    wide, narrow = numbers["variance"]
    alt = (
        f"Left: of the {n} directions of the kernel's SVD, number {np.argmax(blind) + 1} lies {max(numbers['blind']):.0f} % along the one that "
        f"softmax cannot see, the others less. Middle: inputs spread {wide / narrow:.0f} times as widely, in variance, along the kernel's first direction "
        f"as along its last. Right: share of the outputs' variance lost by rank; at rank {RANK} "
        + ", ".join(f"{method} {value:.1f} %" for method, value in low.items()) + "."
    )  # fmt: skip
    return Drawing("weighing", alt, numbers, _draw_weighing, (8.5, 3.3))


def _lost(kernel: Array, bias: Array, inputs: Array) -> dict[str, list[float]]:
    """Return by method and rank how much of the outputs' variance is lost, in %, as softmax sees them."""

    def seen(outputs: Array) -> Array:
        return np.asarray(outputs - outputs.mean(axis=1, keepdims=True))

    outputs = seen(inputs @ kernel + bias)
    moments = InputMoments(len(kernel))
    moments.update(inputs)
    whole = np.square(outputs - outputs.mean(axis=0)).sum()
    lost = {}
    for method in ("svd", "centered", "whitened"):
        # Of n - 1 directions that softmax sees: at that rank nothing is lost.
        problem = Problem(kernel, bias, softmax=True, moments=moments)
        found = factorize_ranks(problem, range(1, kernel.shape[1] - 1), method)
        lost[method] = [
            100
            * np.square(outputs - seen(inputs @ factors.product() + _bias(factors, bias))).sum()
            / whole
            for factors in found.values()
        ]
    return {method: rounded(values, 3) for method, values in lost.items()}


def _bias(factors: Any, bias: Array) -> Any:  # noqa: ANN401
    return bias if factors.bias is None else factors.bias


def _draw_weighing(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    first, middle, last = figure.subplots(1, 3)
    directions = range(1, len(numbers["blind"]) + 1)
    first.bar(directions, numbers["blind"], color=ORANGE, width=0.8)
    first.set_xticks(directions)
    first.set(
        title="What softmax cannot see", xlabel="direction i of the kernel's SVD",
        ylabel="share of it along (1, …, 1), %",
    )  # fmt: skip
    first.grid(axis="y")
    wide, narrow = numbers["variance"]
    x, y = zip(*numbers["cloud"], strict=True)
    middle.plot(x, y, color=SKY, marker=".", linestyle="", markersize=3)
    middle.set_aspect("equal", adjustable="datalim")
    middle.set(
        title="Where inputs go", xlabel=f"along direction 1: σ {numbers['sigma'][0]:.1f}, variance {wide:.1f}",
        ylabel=f"along the last: σ {numbers['sigma'][1]:.1f}, variance {narrow:.1f}",
    )  # fmt: skip
    middle.grid()
    for method, values in numbers["lost"].items():
        last.plot(range(1, len(values) + 1), values, label=method, **METHODS[method])
    last.set(title="What the outputs lose", xlabel="rank", ylabel="outputs' variance lost, %")
    last.set_xticks(range(1, len(numbers["lost"]["svd"]) + 1))
    plain_log(last, "y")
    last.grid()
    last.legend()
