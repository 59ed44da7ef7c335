"""One Dense layer: its kernel, the method, and the factors at any ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrcompress import lowrank
from lrcompress.compression.request import Request, Target
from lrcompress.errors import KernelError, RankError
from lrcompress.events import progress
from lrcompress.modelfile import ModelFile, not_finite, read_bias, read_kernel
from lrcompress.records.results import RankChoice

if TYPE_CHECKING:
    from lrcompress.compression.trial import Calibration, Counted, Outcome, Trial


@dataclass(frozen=True)
class Factorized:
    """A layer with its factors, how its rank was chosen, and why by this method."""

    target: Target
    factors: lowrank.Factors
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
        """Choose the method; nothing is read yet."""
        self.target, self.layer, self.calibration = target, target.layer, calibration
        self._model, self._request, self._task = model, request, task
        self.method, self.reason = lowrank.choose_method(
            request.method,
            lowrank.Setting(
                softmax=self.softmax,
                has_bias=self.layer.use_bias or request.add_bias,
                is_head=target.is_head,
                given="kernel" if calibration is None else "inputs",
            ),
        )
        self._known: dict[tuple[str, int], lowrank.Factors] = {}

    @property
    def softmax(self) -> bool:
        """Whether softmax follows and the objective looks through it."""
        return self.layer.softmax and self.target.is_head

    @cached_property
    def kernel(self) -> NDArray[Any]:
        """A, (m, n), finite."""
        # A large one is in memory once.
        known = self.calibration.kernels if self.calibration else {}
        kernel = known.get(self.layer.path)
        if kernel is None:
            kernel = read_kernel(self._model, self.layer)
        with self._named():
            lowrank.check_kernel(kernel)
        return kernel

    @cached_property
    def bias(self) -> NDArray[Any] | None:
        """b, (n,), None where the layer has none."""
        return read_bias(self._model, self.layer)

    @property
    def inputs(self) -> NDArray[np.float32] | None:
        """The layer's calibration inputs, (..., m)."""
        return self.calibration.activations.get(self.layer.path) if self.calibration else None

    @cached_property
    def _problem(self) -> lowrank.Problem:
        return lowrank.Problem(
            self.kernel, self.bias,
            softmax=self.softmax, activation=self.layer.activation, is_head=self.target.is_head,
            inputs=self.inputs, allow_bias=self._request.add_bias, task=self._task,
        )  # fmt: skip

    def at_ranks(
        self, ranks: Sequence[int], method: str | None = None
    ) -> dict[int, lowrank.Factors]:
        """Return the factors at some ranks, from one decomposition for all that are new."""
        method = method or self.method
        new = [rank for rank in dict.fromkeys(ranks) if (method, rank) not in self._known]
        if new:
            problem = self._problem
            with self._named():
                found = lowrank.factorize_ranks(problem, new, method)
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
        return lowrank.energy(self.spectrum)

    @cached_property
    def spectrum(self) -> NDArray[np.float64]:
        """All singular values of the kernel, or of the mean-free one where that is truncated."""
        method = lowrank.METHODS[self.method]
        return lowrank.singular_values(method.truncated(self.kernel, softmax=self.softmax))

    @property
    def goes_down(self) -> bool:
        """Whether the factors of a rank are found on the way to those of lower ones."""
        return bool(lowrank.METHODS[self.method].closed_form)

    @property
    def counts(self) -> Counted | None:
        """In what held-out data count a drop; None where they tell none."""
        if self.calibration is None:
            return None
        # A kernel that is not finite is refused by name, before anything is measured by it.
        _ = self.kernel
        return self.calibration.counts

    @property
    def trial(self) -> Trial:
        """The network, or this layer alone, on held-out data."""
        if self.calibration is None or self.calibration.trial is None:
            msg = "max_drop needs data to measure the error on; give --dataset."
            raise RankError(msg, code="needs_data")
        return self.calibration.trial

    @property
    def judged(self) -> str:
        """How a drop is judged, in words."""
        return self.calibration.judged if self.calibration else ""

    def outcomes(self, ranks: Sequence[int]) -> dict[int, Outcome]:
        """Return what the layer does at some ranks on held-out data."""
        found, outcomes = self.at_ranks(ranks), {}
        for done, rank in enumerate(ranks, 1):
            outcomes[rank] = self.trial({self.layer: found[rank]}, f"rank {rank}")
            progress("measuring ranks on held-out inputs", done, len(ranks))
        return outcomes

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Name the layer in what the numerics refuse."""
        try:
            yield
        except KernelError as error:
            msg = f"Layer {self.layer.path!r} of {self._model.path}: {error}"
            raise KernelError(msg, code=error.code) from error


def finite(
    model: ModelFile, tasks: Sequence[LayerTask], request: Request
) -> tuple[list[LayerTask], list[str]]:
    """Return the layers whose kernels can be factorized, and a remark on each that is left out."""
    # Where a layer was named, or every one holds NaN or infinity, all are kept, to be refused by name.
    wrong = not_finite(model) if request.every_dense and len(tasks) > 1 else {}
    kept, remarks = [], []
    for task in tasks:
        path = task.layer.path
        numbers = sum(wrong.get(p, 0) for p in {path, task.layer.input_path})
        if numbers:
            remarks.append(
                f"Layer {path} is left as it is: {numbers:,} of its numbers are NaN or infinity."
            )
        else:
            kept.append(task)
    return kept or list(tasks), remarks if kept else []
