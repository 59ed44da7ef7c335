"""One Dense layer: its kernel, the method, and the factors at any ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.compression.choose import capped, choose_rank, pick_rule
from lrcompress.compression.trial import Calibration, HeadMeter, Kernels
from lrcompress.errors import KernelError
from lrcompress.lowrank import (
    METHODS,
    Factors,
    Problem,
    Setting,
    check_kernel,
    check_rank,
    choose_method,
    energy,
    factorize_ranks,
    largest_useful_rank,
    singular_values,
)
from lrcompress.modelfile import ModelFile, Site, read_bias, read_kernel
from lrcompress.records.results import RankChoice


@dataclass(frozen=True)
class Request:
    """What the user asked of `factorize`; the defaults are the command line's."""

    output: Path | None = None
    layers: tuple[str, ...] = ()
    every_dense: bool = False
    rank: int | None = None
    energy: float | None = None
    reduction: float | None = None
    max_drop: float | None = None
    method: str = "auto"
    add_bias: bool = False
    overwrite: bool = False
    force: bool = False
    modernize: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Target:
    """A Dense layer to be factorized.

    Attributes:
        layer: As found in the file.
        is_head: Whether it is the final Dense, or that of one of several outputs: its objective is
            that output. That of any other is its own.
    """

    layer: Site
    is_head: bool


def measures_alone(target: Target) -> bool:
    """Return whether a layer alone tells the predictions: what follows keeps the order of classes."""
    return target.is_head and target.layer.keeps_order


@dataclass(frozen=True)
class Factorized:
    """A layer with its factors, how its rank was chosen, and why by this method."""

    target: Target
    factors: Factors
    choice: RankChoice
    reason: str


class LayerTask:
    """A Dense layer, its calibration inputs, and the factors computed so far."""

    def __init__(
        self,
        model: ModelFile,
        target: Target,
        request: Request,
        calibration: Calibration | None,
        task: str = "factorizing",
    ) -> None:
        """Choose the method; nothing is read yet.

        Raises:
            RankError: If the method is unknown or lacks its data.
        """
        self.target, self.calibration = target, calibration
        self._model, self._request, self._task = model, request, task
        layer = target.layer
        self.method, self.reason = choose_method(
            request.method,
            Setting(
                softmax=self.softmax,
                has_bias=layer.use_bias or request.add_bias,
                is_head=target.is_head,
                given="kernel" if calibration is None else "inputs",
            ),
        )
        self._known: dict[tuple[str, int], Factors] = {}

    @property
    def softmax(self) -> bool:
        """Whether softmax follows and the objective looks through it."""
        return self.target.layer.softmax and self.target.is_head

    @cached_property
    def kernel(self) -> NDArray[Any]:
        """A, (m, n), finite."""
        kernel = read_kernel(self._model, self.target.layer)
        with self._named():
            check_kernel(kernel)
        return kernel

    @cached_property
    def bias(self) -> NDArray[Any] | None:
        """b, (n,), None where the layer has none."""
        return read_bias(self._model, self.target.layer)

    @property
    def inputs(self) -> NDArray[np.float32] | None:
        """The layer's calibration inputs, (..., m)."""
        return None if self.calibration is None else self.calibration.activations.get(self._path)

    @property
    def _path(self) -> str:
        return self.target.layer.path

    @cached_property
    def _problem(self) -> Problem:
        layer = self.target.layer
        return Problem(
            self.kernel, self.bias,
            softmax=self.softmax, activation=layer.activation, is_head=self.target.is_head,
            inputs=self.inputs, allow_bias=self._request.add_bias, task=self._task,
        )  # fmt: skip

    def at_ranks(self, ranks: Sequence[int], method: str | None = None) -> dict[int, Factors]:
        """Return the factors at some ranks, from one decomposition for all that are new.

        Raises:
            KernelError: If the kernel or the inputs are not finite; names the layer.
        """
        method = method or self.method
        new = [rank for rank in dict.fromkeys(ranks) if (method, rank) not in self._known]
        if new:
            problem = self._problem
            with self._named():
                found = factorize_ranks(problem, new, method)
            self._known |= {(method, rank): factors for rank, factors in found.items()}
        return {rank: self._known[method, rank] for rank in ranks}

    def factorized(self, choice: RankChoice) -> Factorized:
        """Return the layer at a chosen rank, with the reason for the method that its factors have."""
        factors, reason = self.at_ranks([choice.rank])[choice.rank], self.reason
        if factors.method != self.method:
            reason = f"better than {self.method} on held-out calibration inputs at this rank"
        return Factorized(self.target, factors, choice, reason)

    def energies(self) -> NDArray[np.float64]:
        """Return the share of energy kept by rank, (min(m, n),), of the matrix that is truncated."""
        return energy(self.spectrum)

    @cached_property
    def spectrum(self) -> NDArray[np.float64]:
        """All singular values of the kernel, or of the mean-free one where that is truncated."""
        method = METHODS[self.method]
        return singular_values(method.truncated(self.kernel, softmax=self.softmax))

    def meter(self) -> HeadMeter | None:
        """Return a meter on held-out data, None where the layer alone does not tell the error."""
        if self.calibration is None or self.calibration.labels is None:
            return None
        x = self.calibration.held_out.get(self._path)
        if x is None:
            return None
        return self.head_meter(x, self.calibration.labels, by_labels=self.calibration.by_labels)

    def head_meter(
        self, inputs: NDArray[np.float32], labels: NDArray[np.int64], *, by_labels: bool = True
    ) -> HeadMeter | None:
        """Return a meter on any of the layer's inputs, (..., m), with their class numbers."""
        if not measures_alone(self.target) or inputs.shape[:-1] != labels.shape:
            return None
        return HeadMeter(
            self.kernel, self.bias, inputs, labels,
            softmax=self.softmax, activation=self.target.layer.activation, by_labels=by_labels,
        )  # fmt: skip

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Name the layer in what the numerics refuse."""
        try:
            yield
        except KernelError as error:
            msg = f"Layer {self._path!r} of {self._model.path}: {error}"
            raise KernelError(msg, code=error.code) from error


def check_layer(layer: Site, rank: int, *, force: bool = False) -> None:
    """Refuse a rank that does not fit a layer or saves nothing; see `lowrank.check_rank`."""
    m, n = layer.kernel_shape
    check_rank(rank, m, n, split=layer.rank, force=force)


def in_network(layer: Site, factors: Factors) -> Kernels:
    """Return the kernels by which a live network computes what it will with these factors."""
    if layer.first is None:
        return {layer.path: (factors.product(), factors.bias)}
    # Two layers already: columns and rows of zeros keep their shapes.
    wide, missing = layer.rank or 0, (layer.rank or 0) - factors.rank
    first = np.pad(factors.B, ((0, 0), (0, missing)))
    second = np.pad(factors.C, ((0, missing), (0, 0)))
    return {layer.first.path: (first, np.zeros(wide)), layer.path: (second, factors.bias)}


def factorize_layer(task: LayerTask, request: Request) -> Factorized:
    """Choose a rank for one layer and factorize its kernel.

    Raises:
        RankError: If no rank fits the request.
        KernelError: If the kernel or the inputs are not finite; names the layer.
    """
    m, n = task.target.layer.kernel_shape
    drops = _drops(task)
    rule, value, is_default = pick_rule(
        request.rank,
        request.energy,
        request.reduction,
        request.max_drop,
        has_data=drops is not None,
    )
    if rule == "rank":
        check_layer(task.target.layer, int(value), force=request.force)
    elif not request.force:
        # Rank 1 saves most of all; where even it saves nothing, say so before any arithmetic.
        check_layer(task.target.layer, 1)
    split = task.target.layer.rank
    judged = "" if task.calibration is None else task.calibration.judged
    choice = choose_rank(
        rule, value, (m, n), task.energies, drops, split=split, default=is_default, judged=judged
    )
    if is_default and not request.force:
        choice = capped(choice, largest_useful_rank(m, n, split), task.energies)
    check_layer(task.target.layer, choice.rank, force=request.force)
    return task.factorized(choice)


def _drops(task: LayerTask) -> Callable[[Sequence[int]], dict[int, float]] | None:
    """Return the drops in points at some ranks on held-out data: by the head alone where it tells."""
    calibration = task.calibration
    if calibration is None:
        return None
    meter, probe = task.meter(), calibration.probe
    # What is wrong cannot be counted where outputs are numbers.
    if meter is None and (probe is None or probe.original.error_rate is None):
        return None

    def drops(ranks: Sequence[int]) -> dict[int, float]:
        found = task.at_ranks(ranks)
        return {rank: _drop(task, meter, found[rank]) for rank in ranks}

    return drops


def _drop(task: LayerTask, meter: HeadMeter | None, factors: Factors) -> float:
    if meter is not None and meter.original_wrong is not None:
        return float(meter(factors).drop or 0.0)
    probe = task.calibration.probe if task.calibration is not None else None
    if probe is None:
        raise AssertionError  # _drops saw to it
    trial = probe(in_network(task.target.layer, factors), f"rank {factors.rank}")
    return float(trial.drop or 0.0)
