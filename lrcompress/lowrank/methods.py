"""The single door to the methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from lrcompress.errors import RankError
from lrcompress.lowrank.centering import centered
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.moments import InputMoments
from lrcompress.lowrank.refine import Head, refined
from lrcompress.lowrank.svd import truncated_svd
from lrcompress.lowrank.whitening import whitened

METHODS = ("svd", "centered", "whitened", "refined")


def choose_method(method: str, *, softmax: bool, has_bias: bool, has_data: bool) -> tuple[str, str]:
    """Return the method to use and why: `auto` takes the best that the data and the layer allow.

    Raises:
        RankError: If the method is unknown, or needs data that are not there.
    """
    if method == "auto":
        if has_data:
            return "refined", "the best method, since there is data to calibrate on"
        if softmax:
            return "centered", "the best method without data; softmax does not see what it removes"
        return "svd", "the best method without data for a layer that softmax does not follow"
    if method not in METHODS:
        msg = f"Unknown method {method!r}; expected auto, {', '.join(METHODS)}."
        raise RankError(msg, code="unknown_method")
    if method in ("whitened", "refined") and not has_data:
        msg = f"Method {method} needs inputs to calibrate on; give --dataset, or use --method auto."
        raise RankError(msg, code="needs_data")
    if method == "centered" and not softmax and not has_bias:
        return (
            method,
            "as asked; no softmax follows, so the outputs lose their mean over the classes",
        )
    if method == "centered" and not softmax:
        return method, "as asked; no softmax follows, so the outputs are moved by their mean"
    return method, "as asked"


def head_of(activation: str, *, softmax: bool) -> Head:
    """Return the objective for a layer: what turns its logits into outputs."""
    if softmax:
        return "softmax"
    return "sigmoid" if activation == "sigmoid" else "linear"


def factorize_kernel(
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    rank: int,
    method: str,
    *,
    softmax: bool,
    activation: str = "linear",
    moments: InputMoments | None = None,
    activations: NDArray[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Factors:
    """Factorize the kernel A (m, n) of a Dense layer by one of the methods.

    Args:
        kernel: A, (m, n).
        bias: b, (n,), or None.
        rank: r, from 1 to min(m, n).
        method: auto, svd, centered, whitened or refined; see `choose_method` for auto.
        softmax: Whether softmax along the classes is what follows.
        activation: The layer's own.
        moments: Of the layer's inputs; whitened needs these or the inputs.
        activations: The inputs themselves, (..., m), unlabelled; refined needs them.
        progress: Told of refinement steps.

    Raises:
        KernelError: If the kernel is not a finite matrix.
        RankError: If there is no such rank, or the method lacks its data.
    """
    has_data = activations is not None or (method == "whitened" and moments is not None)
    method, _ = choose_method(method, softmax=softmax, has_bias=bias is not None, has_data=has_data)
    if moments is None and activations is not None and method in ("whitened", "refined"):
        moments = InputMoments(kernel.shape[0])
        moments.update(activations)
    if method == "svd":
        return truncated_svd(kernel, rank)
    if method == "centered":
        return centered(kernel, bias, rank)
    if method == "whitened" and moments is not None:
        return whitened(kernel, bias, rank, moments, softmax=softmax)
    if method == "refined" and moments is not None and activations is not None:
        head = head_of(activation, softmax=softmax)
        return refined(kernel, bias, rank, activations, moments, head=head, progress=progress)
    raise AssertionError  # choose_method refused what lacks its data
