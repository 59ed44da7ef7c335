"""One Dense layer: which method, which rank, and the factors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.choosing import RankChoice, choose_rank, pick_rule
from lrcompress.errors import KernelError
from lrcompress.lowrank import (
    Factors,
    InputMoments,
    centre_kernel,
    check_kernel,
    check_rank,
    choose_method,
    factorize_kernel,
    singular_values,
)
from lrcompress.modelfile import DenseLayer, ModelFile, read_bias, read_kernel

# Layers after the head that leave the largest class the largest.
ORDER_KEEPING = {"Activation", "Dropout", "Softmax"}


@dataclass(frozen=True)
class Request:
    """What the user asked of `factorize`; the defaults are the command line's."""

    output: Path | None = None
    layer: str | None = None
    rank: int | None = None
    energy: float | None = None
    reduction: float | None = None
    max_drop: float | None = None
    method: str = "auto"
    overwrite: bool = False
    force: bool = False
    modernize: bool = False
    seed: int = 0
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """What `training` measured on the original model, as plain arrays.

    Attributes:
        activations: Unlabelled inputs of the layer, (samples, m) or (samples, steps, m).
        held_out: Inputs of the layer on validation data, same last axis; None forbids `max_drop`.
        held_out_labels: Class numbers, (samples,) or (samples, steps).
    """

    activations: NDArray[np.float32]
    held_out: NDArray[np.float32] | None = None
    held_out_labels: NDArray[np.int64] | None = None


def factorize_layer(
    model: ModelFile,
    head: DenseLayer,
    request: Request,
    calibration: Calibration | None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Factors, RankChoice, str]:
    """Choose a method and a rank for one Dense layer and factorize its kernel.

    Args:
        model: The file that holds it.
        head: The layer, kernel (m, n).
        request: Rank rule and method.
        calibration: The layer's inputs, where there is data.
        progress: Told of refinement steps done and in all.

    Returns:
        The factors, how the rank was chosen, and why this method.

    Raises:
        RankError: If no rank fits the request.
        KernelError: If the kernel or the inputs are not finite; names the layer.
    """
    m, n = head.kernel_shape
    measurable = calibration is not None and _is_measurable(head, calibration)
    rule, value, is_default = pick_rule(
        request.rank, request.energy, request.reduction, request.max_drop, has_data=measurable
    )
    if rule == "rank":
        check_rank(int(value), m, n, force=request.force)
    elif not request.force:
        # Rank 1 saves most of all; where even it saves nothing, say so before any arithmetic.
        check_rank(1, m, n)
    method, reason = choose_method(
        request.method,
        softmax=head.softmax,
        has_bias=head.use_bias,
        has_data=calibration is not None,
    )
    kernel, bias = read_kernel(model, head), read_bias(model, head)
    try:
        check_kernel(kernel)
        at_rank = _methods_at_rank(kernel, bias, head, method, calibration, progress)
        centre = method == "centered" or (head.softmax and method != "svd")
        drop = None
        if calibration is not None and measurable:
            drop = _held_out_drop(kernel, bias, calibration, at_rank)
        choice = choose_rank(
            rule,
            value,
            (m, n),
            lambda: singular_values(centre_kernel(kernel) if centre else kernel),
            drop,
            default=is_default,
        )
        check_rank(choice.rank, m, n, force=request.force)
        return at_rank(choice.rank), choice, reason
    except KernelError as error:
        msg = f"Layer {head.path!r} of {model.path}: {error}"
        raise KernelError(msg, code=error.code) from error


def _methods_at_rank(
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    head: DenseLayer,
    method: str,
    calibration: Calibration | None,
    progress: Callable[[int, int], None] | None,
) -> Callable[[int], Factors]:
    """Return a function from the rank to the factors, which remembers what it has computed."""
    activations = moments = None
    if calibration is not None:
        activations = calibration.activations
        moments = InputMoments(head.kernel_shape[0])
        moments.update(activations)

    @functools.cache
    def at_rank(rank: int) -> Factors:
        return factorize_kernel(
            kernel, bias, rank, method,
            softmax=head.softmax, activation=head.activation,
            moments=moments, activations=activations, progress=progress,
        )  # fmt: skip

    return at_rank


def _is_measurable(head: DenseLayer, calibration: Calibration) -> bool:
    """Return whether the head alone tells the error: labels are there, and nothing reorders classes."""
    x, y = calibration.held_out, calibration.held_out_labels
    fits = x is not None and y is not None and x.shape[:-1] == y.shape
    return fits and set(head.following) <= ORDER_KEEPING


def _held_out_drop(
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    calibration: Calibration,
    at_rank: Callable[[int], Factors],
) -> Callable[[int], float]:
    """Return the drop in points at a rank, by the head alone: what follows it keeps the order."""
    x, y = calibration.held_out, calibration.held_out_labels
    if x is None or y is None:
        raise AssertionError  # _is_measurable said otherwise

    def error_rate(logits: NDArray[Any]) -> float:
        if logits.shape[-1] == 1:
            return 100.0 * float(((logits[..., 0] > 0) != y).mean())
        return 100.0 * float((logits.argmax(axis=-1) != y).mean())

    offset = 0.0 if bias is None else bias.astype(np.float32)
    original = error_rate(x @ kernel.astype(np.float32) + offset)

    def drop(rank: int) -> float:
        factors = at_rank(rank)
        added = offset if factors.bias is None else factors.bias.astype(np.float32)
        logits = x @ factors.B.astype(np.float32) @ factors.C.astype(np.float32) + added
        return error_rate(logits) - original

    return drop
