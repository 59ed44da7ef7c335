"""Several Dense layers under one rule: ranks shared out so that each parameter does the most good."""

from __future__ import annotations

from collections.abc import Sequence

from lrcompress.compression.choose import Asked, Rank, pick
from lrcompress.compression.layer import LayerTask, Shared
from lrcompress.compression.request import Request, check_layer, largest_useful
from lrcompress.errors import RankError
from lrcompress.events import progress
from lrcompress.lowrank import METHODS, Curve, spread_ranks, total_price

# Ranks at which a layer is tried in the network: its curve between them is a line.
TRIED = 8


def factorize_several(tasks: Sequence[LayerTask], request: Request) -> Shared:
    """Choose ranks for several layers under one rule and factorize their kernels.

    With data a layer's curve is the error of the whole network when that layer alone is
    factorized, measured on held-out inputs at a few ranks; without, it is the energy that its
    kernel loses. Both add up, nearly, over layers.
    """
    asked = pick(request, tasks[0].counts)
    if isinstance(asked.rule, Rank):
        return _at_one_rank(tasks, asked, every_dense=request.every_dense)
    for task in tasks:
        check_layer(task.layer, 1)
    curves = [_curve(task) for task in tasks]
    ranks, text = asked.rule.together(tasks, curves, asked)
    saved = 1 - total_price(curves, ranks) / sum(curve.price(None) for curve in curves)
    told = f"chosen jointly for {len(tasks)} layers {text} ({100 * saved:.1f} % saved)"
    found, remarks = [], []
    for task, rank in zip(tasks, ranks, strict=True):
        if rank is None:
            remarks.append(
                f"Layer {task.layer.path} stays whole: shrinking it would cost more accuracy per parameter."
            )
        else:
            found.append(task.factorized(asked.choice(rank, {}, told)))
    if not found:
        msg = (
            f"No ranks of these {len(tasks)} layers save anything if they are {text}; ask for less."
        )
        raise RankError(msg, code="nothing_to_gain")
    return Shared(found, remarks)


def _at_one_rank(tasks: Sequence[LayerTask], asked: Asked, *, every_dense: bool) -> Shared:
    """Factorize every layer at the same rank, those that were not named only where it saves."""
    rank, found, remarks = asked.least, [], []
    for task in tasks:
        layer = task.layer
        if every_dense and not asked.force and rank > largest_useful(layer):
            remarks.append(
                f"Layer {layer.path} stays whole: rank {rank} would not make it smaller."
            )
            continue
        check_layer(layer, rank, force=asked.force)
        found.append(task.factorized(asked.choice(rank, {}, "as asked")))
    if not found:
        msg = f"Rank {rank} makes no Dense layer of this model smaller; ask for a lower rank."
        raise RankError(msg, code="rank_saves_nothing")
    return Shared(found, remarks)


def _curve(task: LayerTask) -> Curve:
    """Return a layer's error by rank."""
    layer = task.layer
    most = largest_useful(layer)
    if task.calibration is None or task.calibration.trial is None:
        shares = task.energies()
        errors = {r: float(1 - shares[r - 1]) for r in range(1, most + 1)}
        return Curve(layer.kernel_shape, errors, split=layer.rank)
    # The closed form stands for a method that improves on it, which falls in the same way.
    closed_form = METHODS[task.method].closed_form or task.method
    found = task.at_ranks(spread_ranks(most, TRIED), closed_form)
    errors = {}
    for done, (rank, factors) in enumerate(sorted(found.items()), 1):
        outcome = task.trial({layer: factors}, f"{layer.name}, rank {rank}")
        # More rank cannot be worse but for noise.
        errors[rank] = min([outcome.output_error, *errors.values()])
        progress(f"trying {layer.name} alone", done, len(found))
    return Curve(layer.kernel_shape, errors, split=layer.rank)
