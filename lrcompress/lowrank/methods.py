"""The single door to the methods."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import RankError, did_you_mean
from lrcompress.lowrank.centering import centered_ranks
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.guarding import better, held_out_problem
from lrcompress.lowrank.moments import InputMoments
from lrcompress.lowrank.objectives import head_of
from lrcompress.lowrank.projected import ProjectedMoments, gather_moments
from lrcompress.lowrank.refine import refined_ranks
from lrcompress.lowrank.spectrum import Reference, at_rank
from lrcompress.lowrank.svd import check, truncated_svd
from lrcompress.lowrank.whitening import check_moments, whitened_ranks

METHODS = ("svd", "centered", "whitened", "refined")


def minimises(method: str) -> str:
    """Return what a method brings near the original: the kernel, the mean-free one, or the outputs."""
    return {"svd": "kernel", "centered": "mean-free kernel"}.get(method, "outputs")


def choose_method(
    method: str, *, softmax: bool, has_bias: bool, has_data: bool, is_head: bool = True
) -> tuple[str, str]:
    """Return the method to use and why: `auto` takes the best that the data and the layer allow.

    Args:
        method: auto, or one of the methods.
        softmax: Whether softmax along the classes is what follows.
        has_bias: Whether the layer has a bias.
        has_data: Whether there are inputs to calibrate on.
        is_head: Whether the layer makes predictions; a hidden layer is not centred.

    Raises:
        RankError: If the method is unknown, or needs data that are not there.
    """
    if method == "auto":
        if has_data and is_head:
            return "refined", "the best method, since there is data to calibrate on"
        if has_data:
            return (
                "whitened",
                "the best method for a hidden layer, since there is data to calibrate on",
            )
        if softmax and is_head:
            return "centered", "the best method without data; softmax does not see what it removes"
        if not is_head:
            return "svd", "the best method without data for a hidden layer"
        return "svd", "the best method without data for a layer that softmax does not follow"
    if method not in METHODS:
        near = did_you_mean(method, ("auto", *METHODS))
        msg = f"Unknown method {method!r}; expected auto, {', '.join(METHODS)}.{near}"
        raise RankError(msg, code="unknown_method")
    if method in ("whitened", "refined") and not has_data:
        msg = f"Method {method} needs inputs to calibrate on; give --dataset, or use --method auto."
        raise RankError(msg, code="needs_data")
    if method == "centered" and not is_head:
        return "svd", "instead of centered, which would move the outputs of a hidden layer"
    if method == "centered" and not softmax and not has_bias:
        return (
            method,
            "as asked; no softmax follows, so the outputs lose their mean over the classes",
        )
    if method == "centered" and not softmax:
        return method, "as asked; no softmax follows, so the outputs are moved by their mean"
    return method, "as asked"


def factorize_ranks(
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    ranks: Collection[int],
    method: str,
    *,
    softmax: bool,
    activation: str = "linear",
    is_head: bool = True,
    moments: InputMoments | ProjectedMoments | None = None,
    activations: NDArray[Any] | None = None,
    allow_bias: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, Factors]:
    """Factorize the kernel A (m, n) of a Dense layer at several ranks, for the price of one.

    The closed forms come from one decomposition at the largest rank, the refined heads from one
    pass down the ranks. Where the inputs themselves are given, every tenth is held out, and at
    ranks where a method that learned from inputs is worse on those than the best without data
    (centered where softmax follows, else svd), that one is returned and says so by its `method`.

    Args:
        kernel: A, (m, n).
        bias: b, (n,), or None.
        ranks: Each from 1 to min(m, n).
        method: auto, svd, centered, whitened or refined; see `choose_method` for auto.
        softmax: Whether softmax along the classes is what follows.
        activation: The layer's own, by Keras's name.
        is_head: Whether the layer makes predictions. For a hidden layer nothing is centred, and
            refined minimises the squared error of the layer's own output.
        moments: Of the layer's inputs; whitened needs these or the inputs.
        activations: The inputs themselves, (..., m), unlabelled; refined needs them.
        allow_bias: Whether whitened and refined may give a bias to a layer without one.
        progress: Told of refinement steps done and in all.

    Returns:
        Factors by rank, each with its certificate; empty without ranks.

    Raises:
        KernelError: If the kernel or the inputs are not finite, or do not belong together.
        RankError: If there is no such rank, or the method lacks its data.
    """
    wanted = sorted(set(ranks))
    if not wanted:
        return {}
    softmax = softmax and is_head
    has_data = activations is not None or (method == "whitened" and moments is not None)
    method, _ = choose_method(
        method, softmax=softmax, has_bias=bias is not None, has_data=has_data, is_head=is_head
    )
    check(kernel, wanted[0])
    literal = truncated_svd(kernel, wanted[-1])
    reference = Reference(kernel, literal)
    if method == "svd":
        return {rank: at_rank(literal, rank, kernel) for rank in wanted}
    if method == "centered":
        return centered_ranks(bias, wanted, reference)
    head = head_of(activation, softmax=softmax, is_head=is_head)
    if method == "refined" and activations is not None:
        found = refined_ranks(
            bias, wanted, activations, reference,
            head=head, allow_bias=allow_bias, progress=progress,
        )  # fmt: skip
    else:
        if moments is None:
            inputs = np.zeros((0, kernel.shape[0])) if activations is None else activations
            moments = gather_moments(kernel, inputs)
        check_moments(kernel, moments)
        found = whitened_ranks(
            bias, wanted, moments, reference, softmax=softmax, allow_bias=allow_bias
        )
    if activations is None:
        return found
    without_data = (
        centered_ranks(bias, wanted, reference)
        if softmax
        else {rank: at_rank(literal, rank, kernel) for rank in wanted}
    )
    return better(found, without_data, bias, held_out_problem(kernel, bias, activations, head))


def factorize_kernel(
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    rank: int,
    method: str,
    *,
    softmax: bool,
    activation: str = "linear",
    is_head: bool = True,
    moments: InputMoments | ProjectedMoments | None = None,
    activations: NDArray[Any] | None = None,
    allow_bias: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Factors:
    """Factorize the kernel A (m, n) of a Dense layer at one rank; see `factorize_ranks`."""
    return factorize_ranks(
        kernel, bias, [rank], method,
        softmax=softmax, activation=activation, is_head=is_head,
        moments=moments, activations=activations, allow_bias=allow_bias, progress=progress,
    )[rank]  # fmt: skip
