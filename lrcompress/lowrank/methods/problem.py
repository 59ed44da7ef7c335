"""What a method is given of a layer, and what a method is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.moments import (
    InputMoments,
    ProjectedMoments,
    check_moments,
    gather_moments,
)
from lrcompress.lowrank.spectrum import Reference
from lrcompress.lowrank.svd import truncated_svd

# From the least to the most: each holds what those before it do.
Given = Literal["kernel", "moments", "inputs"]
GIVEN: tuple[Given, ...] = ("kernel", "moments", "inputs")


@dataclass(frozen=True)
class Setting:
    """What is known of a layer before any of its arrays is read.

    Attributes:
        softmax: Whether softmax along the classes is what follows.
        has_bias: Whether the layer has a bias, or may be given one.
        is_head: Whether the layer makes predictions; a hidden layer hands its output on.
        given: The most that there is to learn from.
    """

    softmax: bool = False
    has_bias: bool = True
    is_head: bool = True
    given: Given = "kernel"


@dataclass(frozen=True, eq=False)
class Problem:
    """A layer ``x A + b`` that is to become ``(x B) C + b'``.

    Attributes:
        kernel: A, (m, n).
        bias: b, (n,), or None.
        softmax: Whether softmax along the classes is what follows; counts for heads only.
        activation: The layer's own, by Keras's name.
        is_head: Whether the layer makes predictions.
        inputs: The layer's inputs, (..., m), unlabelled.
        moments: Of these; gathered where they are missing and needed.
        allow_bias: Whether a layer without bias may be given one.
        task: What progress is told as.
    """

    kernel: NDArray[Any]
    bias: NDArray[Any] | None = None
    softmax: bool = False
    activation: str = "linear"
    is_head: bool = True
    inputs: NDArray[Any] | None = None
    moments: InputMoments | ProjectedMoments | None = None
    allow_bias: bool = False
    task: str = "factorizing"
    _references: dict[int, Reference] = field(default_factory=dict, init=False, repr=False)
    _gathered: list[InputMoments | ProjectedMoments] = field(
        default_factory=list, init=False, repr=False
    )

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
        if rank not in self._references:
            self._references[rank] = Reference(self.kernel, truncated_svd(self.kernel, rank))
        return self._references[rank]

    def statistics(self) -> InputMoments | ProjectedMoments:
        """Return the moments of the inputs, refused where they are none of this layer's."""
        if not self._gathered:
            found = self.moments
            if found is None:
                none = np.zeros((0, len(self.kernel)))
                found = gather_moments(self.kernel, none if self.inputs is None else self.inputs)
            check_moments(self.kernel, found)
            self._gathered.append(found)
        return self._gathered[0]


class Method:
    """A way to B, C and b'; one file of this folder, one line in METHODS.

    Attributes:
        name: What ``--method`` calls it.
        needs: The least that it learns from.
        minimises: What it brings near the original, and its certificate judges.
        spectrum_of: The matrix whose singular values its factors name.
        color: Of its lines in figures, and marker: of its points.
        hidden: Whether `auto` takes it for a hidden layer, only who asks for it gets it, or never.
        because: Why `auto` takes it without data, if there is more to say.
        closed_form: The method that it improves on step by step, rank after rank, so that it
            truncates no matrix; empty where it is a closed form itself.
    """

    name: str
    needs: Given = "kernel"
    minimises: str = "kernel"
    spectrum_of: str = "kernel"
    color: str = "#56B4E9"
    marker: str = "v"
    hidden: Literal["auto", "asked", "never"] = "auto"
    because: str = ""
    closed_form: str = ""

    def suits(self, setting: Setting) -> str | None:
        """Return None, or why `auto` passes it over; who asks for it is told."""
        return None

    def truncated(self, kernel: NDArray[Any], *, softmax: bool) -> NDArray[Any]:
        """Return the matrix whose energy a rank is chosen by."""
        return kernel

    def solve(self, problem: Problem, ranks: Sequence[int]) -> dict[int, Factors]:
        """Return the factors at some rising ranks, for the price of one."""
        raise NotImplementedError
