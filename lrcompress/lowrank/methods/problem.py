"""What a method is given of a layer, the one function that calls it, and the guard on what it makes of inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.events import progress
from lrcompress.lowrank.factors import Factors, Reference
from lrcompress.lowrank.matrix import Array, Floats, check_kernel
from lrcompress.lowrank.methods import AUTO, METHODS, Given, Setting, choose_method
from lrcompress.lowrank.svd import check_has_rank, truncated_svd

if TYPE_CHECKING:
    from lrcompress.lowrank.moments import Moments
    from lrcompress.lowrank.objectives import Imitated
    from lrcompress.lowrank.refinement.outputs import Outputs

# Losses that differ by less, or by less of the larger, are equal: sums of float32 logits round so.
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Problem:
    """A layer ``x A + b`` that is to become ``(x B) C + b'``."""

    kernel: Array  # A, (m, n)
    bias: Array | None = None  # b, (n,)
    softmax: bool = False  # whether softmax along the classes follows; counts for heads only
    activation: str = "linear"  # the layer's own, by Keras's name
    is_head: bool = True  # whether the layer makes predictions
    inputs: Array | None = None  # the layer's, (..., m), unlabelled
    moments: Moments | None = None  # gathered where missing and needed
    allow_bias: bool = False  # whether a layer without bias may be given one
    task: str = "factorizing"  # what progress is told as
    # Decompositions that methods keep, by their names: lower ranks are cut from them.
    known: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _references: dict[int, Reference] = field(default_factory=dict, init=False, repr=False)

    @property
    def centre(self) -> bool:
        """Whether a number added to all outputs alike is seen by nothing."""
        return self.softmax and self.is_head

    @property
    def has_bias(self) -> bool:
        """Whether the new layer has a bias."""
        return self.bias is not None or self.allow_bias

    @property
    def setting(self) -> Setting:
        """What `choose_method` asks for."""
        moments: Given = "kernel" if self.moments is None else "moments"
        given: Given = moments if self.inputs is None else "inputs"
        return Setting(self.softmax, self.has_bias, self.is_head, given)

    def reference(self, rank: int) -> Reference:
        """Return what certificates up to a rank are measured against, decomposed once."""
        rank = min((known for known in self._references if known >= rank), default=rank)
        if rank not in self._references:
            self._references[rank] = Reference(self.kernel, truncated_svd(self.kernel, rank))
        return self._references[rank]

    @property
    def head(self) -> str:
        """The name of the objective, see `objectives.head_of`."""
        from lrcompress.lowrank.objectives import head_of

        return head_of(self.activation, softmax=self.softmax, is_head=self.is_head)

    @cached_property
    def parts(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The inputs to learn from and those held out, (k, m) each; the same ones where they are very few."""
        from lrcompress.lowrank.refinement.descent import split

        m = len(self.kernel)
        inputs = np.zeros((0, m)) if self.inputs is None else self.inputs
        inner, outer = (
            part.reshape(-1, m).astype(np.float32, copy=False) for part in split(inputs)
        )
        return inner, outer if len(outer) else inner

    @cached_property
    def seen(self) -> Outputs | None:
        """What the layer says of the inputs to learn from; None where that is no probability."""
        return self._outputs(self.parts[0])

    @cached_property
    def weights(self) -> Floats | None:
        """How much the KL minds an error of each output, (n,), by the inputs to learn from; None as `seen`."""
        from lrcompress.lowrank.refinement.outputs import PROBABILITIES, output_weights

        if self.head not in PROBABILITIES:
            return None
        known: Outputs | None = self.__dict__.get("seen")
        if known is not None:
            return known.weights
        return output_weights(self.parts[0], *self._narrow, self.head)

    @cached_property
    def unseen(self) -> Outputs | Imitated:
        """What the layer makes of the inputs held out, for comparison."""
        from lrcompress.lowrank.objectives import imitated

        x = self.parts[1]
        kernel, bias = self._narrow
        return self._outputs(x) or imitated(x, kernel, bias, self.head)

    @property
    def _narrow(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        narrow = self.kernel.astype(np.float32, copy=False)
        return narrow, None if self.bias is None else self.bias.astype(np.float32)

    def _outputs(self, x: NDArray[np.float32]) -> Outputs | None:
        from lrcompress.lowrank.refinement.outputs import PROBABILITIES, outputs_of

        if self.head not in PROBABILITIES:
            return None
        return outputs_of(x, *self._narrow, self.head)

    @cached_property
    def statistics(self) -> Moments:
        """The moments of the inputs, refused where they are none of this layer's."""
        from lrcompress.lowrank.moments import check_moments, gather_moments

        found = self.moments
        if found is None:
            none = np.zeros((0, len(self.kernel)))
            found = gather_moments(self.kernel, none if self.inputs is None else self.inputs)
        check_moments(self.kernel, found)
        return found


def factorize_ranks(
    problem: Problem, ranks: Collection[int], method: str = AUTO
) -> dict[int, Factors]:
    """Factorize a kernel at several ranks, for the price of one.

    Where the inputs themselves are given, every tenth is held out, and at ranks where a method that learned
    from inputs is worse on those than a simpler one, that one is returned and says so by its `method`.
    """
    wanted = sorted(set(ranks))
    if not wanted:
        return {}
    chosen = METHODS[choose_method(method, problem.setting)[0]]
    check_kernel(problem.kernel)
    check_has_rank(problem.kernel, wanted[0])
    if problem.inputs is not None and chosen.needs == "inputs":
        from lrcompress.lowrank.refinement.room import check_room

        m = len(problem.kernel)
        check_room((m, problem.kernel.shape[1]), wanted[-1], problem.inputs.size // m)
    found = chosen.solve(problem, wanted)
    if chosen.needs == "kernel" or problem.inputs is None:
        return found
    rivals = simpler(chosen.name, problem)
    for index, name in enumerate(rivals):
        if not chosen.closed_form:  # or it has told its own
            progress("comparing methods on held-out inputs", index, len(rivals))
        found = better(found, METHODS[name].solve(problem, wanted), problem)
    return found


def simpler(method: str, problem: Problem) -> list[str]:
    """Return what a method that learned from inputs is measured against, the best without data last."""
    without, _ = choose_method(AUTO, replace(problem.setting, given="kernel"))
    # Weights count for probabilities alone.
    weighs = method == "weighted" and problem.weights is not None
    return [*["whitened"] * weighs, without]


def better(
    found: Mapping[int, Factors], simple: Mapping[int, Factors], problem: Problem
) -> dict[int, Factors]:
    """Return at each rank the factors that are nearer to the original on the inputs held out."""
    chosen = {}
    for rank, factors in found.items():
        least = loss_of(simple[rank], problem)
        gains = loss_of(factors, problem) < least - ROUNDING * max(least, 1.0)
        chosen[rank] = factors if gains else simple[rank]
    return chosen


def loss_of(factors: Factors, problem: Problem) -> float:
    """Return the mean loss of factors, as they are stored, on the inputs held out."""
    bias = problem.bias if factors.bias is None else factors.bias
    offset = np.zeros(factors.C.shape[1]) if bias is None else bias
    parts = (factors.B, factors.C, offset)
    return problem.unseen.loss(*(part.astype(np.float32, copy=False) for part in parts))
