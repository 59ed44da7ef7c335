"""EinsumDense: a kernel whose axes meet the input's, or are new in the output, by an equation.

With the axes that meet the input as m and the new ones as n it is x A + b at each position of the
others. An axis that is in the input, the kernel and the output would be a kernel for each position:
many small matrices, which two of these layers in a row cannot share.
"""

from __future__ import annotations

import copy
import math
import re
import string
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.linear import LinearForm, LinearLayer, drawn_steps, with_constant
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Form,
    Layers,
    Place,
    Refusal,
    Serialized,
    Tensors,
)
from lrcompress.kinds.terms import activation_name

_EQUATION = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")


@dataclass(frozen=True)
class Equation:
    """An equation taken apart: letters of input, kernel and output without dots, and where dots stand."""

    source: str
    kernel: str
    target: str
    before: str  # ``"..."`` where dots stand before the letters
    behind: str  # the same behind them

    @property
    def met(self) -> str:
        """Axes of the kernel that meet the input's."""
        return "".join(a for a in self.kernel if a not in self.target)

    @property
    def made(self) -> str:
        """Axes of the kernel that are new in the output."""
        return "".join(a for a in self.kernel if a in self.target)

    @property
    def kept(self) -> str:
        """Axes of the input that are in the output."""
        return "".join(a for a in self.source if a not in self.met)

    def over(self, source: str, kernel: str, target: str) -> str:
        """Return an equation of other letters with the same dots."""
        before, behind = self.before, self.behind
        return f"{before}{source}{behind},{kernel}->{before}{target}{behind}"

    def is_matrix(self) -> bool:
        """Return whether the kernel is one matrix, and nothing else happens."""
        once = all(len(set(p)) == len(p) for p in (self.source, self.kernel, self.target))
        shared = set(self.source) & set(self.kernel) & set(self.target)
        told = set(self.kept + self.made) == set(self.target) and set(self.met) <= set(self.source)
        return once and not shared and told and bool(self.met) and bool(self.made)


def equation_of(config: dict[str, Any]) -> Equation | None:
    """Return the equation of a layer, None where it is none that Keras takes."""
    found = _EQUATION.fullmatch(str(config.get("equation")))
    if found is None:
        return None
    before, source, behind, kernel, *dots = found.group(1, 2, 3, 4, 5, 7)
    if dots != [before, behind] or (before and behind):
        return None
    return Equation(source, kernel, found.group(6), before or "", behind or "")


class Einsum(LinearLayer):
    """A kernel, and perhaps a bias along some axes of the output."""

    name = "EinsumDense"
    family = "dense"
    classes = frozenset({"EinsumDense"})

    def refuse(self, layer: Serialized) -> Refusal | None:
        """Refuse a kernel that is quantized, is not all there is to it, or is no single matrix."""
        equation = equation_of(layer.config)
        if equation is None or not equation.is_matrix():
            stated = layer.config.get("equation")
            why = f"has a kernel that is not a single matrix by its equation {stated}"
            return Refusal("equation", why)
        return super().refuse(layer)

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return two of them in a row."""
        equation, arrays = equation_of(place.layer.config), place.layer.arrays
        biased = place.layer.config.get("bias_axes") is not None
        if equation is None or len(arrays) != 1 + biased:
            return ()
        return (_Rank(self, place),) if len(arrays[0].shape) == len(equation.kernel) else ()

    def kernel(self, layer: Serialized, arrays: Tensors) -> Array:
        """Return the kernel as a matrix."""
        equation = _equation(layer)
        laid = arrays[0].transpose(_order(equation))
        return laid.reshape(math.prod(laid.shape[: len(equation.met)]), -1)

    def with_kernel(
        self, place: Place, arrays: Arrays, kernel: Array, shift: Array | None
    ) -> Arrays:
        """Return another kernel, and the bias where it has all axes of a constant."""
        equation, (old, *bias) = _equation(place.layer), arrays[place.path]
        order = _order(equation)
        shape = [old.shape[axis] for axis in order]
        own = (kernel.reshape(shape).transpose(np.argsort(order)), *bias)
        if shift is None:
            return {place.path: own}
        sizes = dict(zip(equation.kernel, old.shape, strict=True))
        if len(arrays[place.path]) < 2:
            # A normalization works along the last axis.
            last = equation.target[-1:] == equation.made and not equation.behind
            return with_constant(place, arrays, own, None, shift if last else None)
        axes = str(place.layer.config["bias_axes"])
        if not set(equation.made) <= set(axes):
            return {place.path: own}
        named = equation.target[min(equation.target.index(a) for a in axes) :]
        order = [equation.made.index(a) for a in named if a in equation.made]
        laid = shift.reshape([sizes[a] for a in equation.made]).transpose(order)
        # One entry along the axes of the output that are not new in it, dots included.
        shape = [sizes[a] if a in equation.made else 1 for a in named]
        laid = laid.reshape(*shape, *[1] * (bias[0].ndim - len(shape)))
        return {place.path: (own[0], bias[0] + laid)}

    def rows(self, place: Place, batch: Batch) -> Array:
        """Return what the kernel meets, of many positions some of each sample."""
        equation, x, mask = _equation(place.layer), batch.inputs[0], batch.mask
        if place.per_step:
            # Each step is a sample of its own.
            x = x.reshape(-1, *x.shape[2:]) if mask is None else x[mask.astype(bool)]
            mask = None
        start = 0 if equation.behind else x.ndim - len(equation.source)
        met = [start + equation.source.index(a) for a in equation.met]
        others = [axis for axis in range(x.ndim) if axis not in met]
        moved = x.transpose(*others, *met).reshape(*(x.shape[a] for a in others), -1)
        # Steps that are masked are positions only where they are the one other axis.
        mask = mask if mask is not None and mask.shape == moved.shape[:-1] and 1 in others else None
        return drawn_steps(batch._replace(inputs=(moved,), mask=mask))

    def merged(self, layers: Layers) -> Serialized | None:
        """Return the one of B C that a linear one without a bias and the one behind it are."""
        if len(layers) != 2 or any(layer.class_name not in self.classes for layer in layers):
            return None
        first, second = layers
        one, two = equation_of(first.config), equation_of(second.config)
        if one is None or two is None or not one.is_matrix() or not two.is_matrix():
            return None
        linear = activation_name(first.config.get("activation")) == "linear"
        if not linear or len(first.arrays) > 1 or len(one.target) != len(two.source):
            return None
        if (one.before, one.behind) != (two.before, two.behind):
            return None
        # The letters of the second, as the first calls them; new ones for its own.
        known = dict(zip(two.source, one.target, strict=True))
        free = iter(_unused(one.source + one.kernel + one.target))
        known |= {a: next(free) for a in two.made}
        if {known[a] for a in two.met} != set(one.made):
            return None
        left, right = first.arrays[0].astype(np.float64), second.arrays[0]
        rank = math.prod(n for a, n in zip(one.kernel, left.shape, strict=True) if a in one.made)
        if rank > min(left.size // rank, right.size // rank):
            return None
        target, inner, made = (
            "".join(known[a] for a in word) for word in (two.target, two.kernel, two.made)
        )
        kernel = one.met + made
        config = copy.deepcopy(second.config)
        config["equation"] = one.over(one.source, kernel, target)
        if config.get("bias_axes") is not None:
            config["bias_axes"] = "".join(known[a] for a in config["bias_axes"])
        product = np.einsum(f"{one.kernel},{inner}->{kernel}", left, right)
        return Serialized(second.class_name, config, (product, *second.arrays[1:]))


class _Rank(LinearForm):
    """One to a new axis of length r, and one that takes it in."""

    @property
    def _shape(self) -> tuple[int, int]:
        equation, shape = _equation(self.place.layer), self.place.layer.arrays[0].shape
        sizes = dict(zip(equation.kernel, shape, strict=True))
        return math.prod(sizes[a] for a in equation.met), math.prod(sizes[a] for a in equation.made)

    def multiplications(self, size: int) -> int | None:
        """Return r (m + n) at each position."""
        output = self.place.output_shape
        if output is None or None in output:
            return None
        m, n = self._shape
        return math.prod(axis or 1 for axis in output) // n * size * (m + n)

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        layer, (left, right) = self.place.layer, factors
        equation, kernel = _equation(layer), layer.arrays[0]
        sizes = dict(zip(equation.kernel, kernel.shape, strict=True))
        rank, size = _unused(equation.source + equation.kernel + equation.target)[0], left.shape[1]
        inner = equation.kept + rank
        first, second = copy.deepcopy(layer.config), copy.deepcopy(layer.config)
        for config in (first, second):
            initializer = terms.as_dict(config.get("kernel_initializer"))
            if terms.as_dict(initializer.get("config")).get("input_axes") is not None:
                config["kernel_initializer"] = "glorot_uniform"  # it would name other axes
        # Without dots before it the first letter is the batch, and not stated.
        skipped = 0 if equation.before else 1
        stated = terms.as_list(first["output_shape"]) or [first["output_shape"]]
        lengths = dict(zip(equation.target[skipped:], stated, strict=False)) | {rank: size}
        first |= {key: None for key in terms.REGULARIZERS if key in first}
        first |= {
            "name": self.new_name,
            "equation": equation.over(equation.source, equation.met + rank, inner),
            "output_shape": [lengths.get(a) for a in inner[skipped:]],
            "activation": "linear",
            "bias_axes": None,
        }
        second["equation"] = equation.over(inner, rank + equation.made, equation.target)
        left = left.reshape(*[sizes[a] for a in equation.met], size)
        right = right.reshape(size, *[sizes[a] for a in equation.made])
        return (
            Serialized(layer.class_name, first, (left,)),
            Serialized(layer.class_name, second, (right, *arrays[1:])),
        )


def _equation(layer: Serialized) -> Equation:
    """Return the equation of a layer that is not refused."""
    found = equation_of(layer.config)
    if found is None:
        raise AssertionError
    return found


def _order(equation: Equation) -> list[int]:
    """Return the kernel's axes, those that meet the input first."""
    return [equation.kernel.index(a) for a in equation.met + equation.made]


def _unused(letters: str) -> str:
    """Return letters that an equation has not."""
    return "".join(a for a in string.ascii_lowercase + string.ascii_uppercase if a not in letters)
