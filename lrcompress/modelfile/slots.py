"""How Keras lays out the state of its optimizers: scalars, then slots by place, none with a name.

The layouts were read off optimizers that Keras 3.3 to 3.15 built, which all agree, and tf_keras for
Keras 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrcompress.kinds.terms import is_built_in
from lrcompress.modelfile.trainable import UncertainError
from lrcompress.modelfile.untrusted import as_dict
from lrcompress.printable import printable

# The array lists of an optimizer, and of the one that a LossScaleOptimizer wraps.
VARIABLES = "optimizer/vars"
INNER = "optimizer/inner_optimizer/vars"

# Of each run, the values its slots start from. Within a run, the slots of one variable stand
# together: (0, 0) is m0 v0 m1 v1 ..., and (0,), (0,) is m0 m1 ... v0 v1 ...
Runs = tuple[tuple[float, ...], ...]

_PAIR: Runs = ((0.0, 0.0),)
_PAIRED = ("Adam", "AdamW", "Adamax", "Nadam", "Adadelta", "Lamb")
# Iterations and learning rate of its own, then the step counter and the scale.
_LOSS_SCALE_SCALARS = 4
# Whatever lies outside no type of kernel can hold.
_LARGEST_START = 1e30


@dataclass(frozen=True)
class Layout:
    """What the state of an optimizer consists of.

    Attributes:
        name: The optimizer's class.
        scalars: Number of scalars before the slots, by the group of a list. Lists hold the same
            slots: a LossScaleOptimizer stores those of the optimizer it wraps with its own too.
        runs: The slots.
    """

    name: str
    scalars: dict[str, int]
    runs: Runs

    @property
    def slots_each(self) -> int:
        """Number of slots of one variable."""
        return sum(len(run) for run in self.runs)

    def slots(self, group: str, count: int) -> list[tuple[float, list[str]]]:
        """Return for each kind of slot what it starts from, and its arrays in order of variables.

        Args:
            group: One of the lists.
            count: Number of variables.
        """
        found, start = [], self.scalars[group]
        for run in self.runs:
            for kind, initial in enumerate(run):
                places = range(start + kind, start + len(run) * count, len(run))
                found.append((initial, [f"{group}/{place}" for place in places]))
            start += len(run) * count
        return found


def layout(optimizer: object, version: str | None, *, wrapped: bool) -> Layout:
    """Return how an optimizer's state is laid out.

    Args:
        optimizer: As serialized in the compile settings: a JSON object, or a name (Keras 2).
        version: The Keras version that wrote it.
        wrapped: Whether the file holds the state of a wrapped optimizer. Under mixed precision
            Keras wraps by itself, and the settings then name the inner one only.

    Raises:
        UncertainError: If it is not one whose layout is known.
    """
    entry = as_dict(optimizer)
    if isinstance(optimizer, str):
        entry = {"class_name": next((n for n in _ALL if n.lower() == optimizer.lower()), optimizer)}
    if entry.get("class_name") == "LossScaleOptimizer" and is_built_in(entry):
        entry = as_dict(as_dict(entry.get("config")).get("inner_optimizer"))
        wrapped = True
    name, config = printable(str(entry.get("class_name"))), as_dict(entry.get("config"))
    old = (version or "").startswith("2.")
    known = name in _ALL and is_built_in(entry) and not config.get("is_legacy_optimizer")
    # Some versions of Keras 3 put Nadam's running product before the slots, others behind them.
    if not known or (wrapped and old) or (name == "Nadam" and not old):
        what = "an optimizer without settings" if optimizer is None else f"optimizer {name}"
        msg = f"the layout of {what} is not known"
        raise UncertainError(msg)
    if config.get("use_ema"):
        msg = f"optimizer {name} holds averages of the weights (use_ema)"
        raise UncertainError(msg)
    # Keras 3 stores the iterations and, unless it follows a schedule, the learning rate; Keras 2
    # the iterations alone.
    rate = config.get("learning_rate", 0.0)
    scalars = 2 if isinstance(rate, (int, float)) and not old else 1
    lists = {VARIABLES: scalars}
    if wrapped:
        lists = {VARIABLES: _LOSS_SCALE_SCALARS + scalars, INNER: scalars}
    runs: Runs = ((0.0,),) if config.get("gradient_accumulation_steps") else ()
    return Layout(name, lists, runs + _runs(name, config, old=old))


def _runs(name: str, config: dict[str, Any], *, old: bool) -> Runs:
    """Return the slots of one class of optimizer in the order in which its `build` makes them."""
    one: Runs = ((0.0,),)
    if name == "SGD":
        # Keras 2 makes momentums even where the momentum is 0.
        return one if config.get("momentum") or old else ()
    if name == "RMSprop":
        return one * (1 + bool(config.get("momentum")) + bool(config.get("centered")))
    if name == "Lion":
        return one
    if name in _ACCUMULATING:
        start = config.get("initial_accumulator_value", 0.1)
        if not isinstance(start, (int, float)) or not 0 <= start < _LARGEST_START:
            msg = f"what the accumulators of optimizer {name} start from is not known"
            raise UncertainError(msg)
        return ((float(start),),) if name == "Adagrad" else ((float(start), 0.0),)
    return _PAIR + one if config.get("amsgrad") else _PAIR


_ACCUMULATING = ("Adagrad", "Ftrl")
_ALL = (*_PAIRED, *_ACCUMULATING, "SGD", "RMSprop", "Lion")
