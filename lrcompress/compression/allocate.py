"""Several Dense layers under one rule: ranks shared out so that each parameter does the most good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrcompress.compression.choose import Rule, in_points, pick_rule
from lrcompress.compression.layer import Factorized, LayerTask, Request, check_layer, in_network
from lrcompress.compression.selection import largest_useful
from lrcompress.compression.trial import Calibration, Kernels
from lrcompress.errors import RankError
from lrcompress.events import progress
from lrcompress.lowrank import (
    METHODS,
    Allocations,
    Curve,
    Ranks,
    allocations,
    rank_grid,
    spread_ranks,
    total_price,
)
from lrcompress.lowrank import within_budget as best_within
from lrcompress.records.results import RankChoice

# Ranks at which a layer is tried in the network: its curve between them is a line.
TRIED = 8


@dataclass(frozen=True)
class Shared:
    """What came of sharing out: the layers that are factorized, and remarks on those that are not."""

    layers: list[Factorized]
    remarks: list[str]


def factorize_several(
    tasks: Sequence[LayerTask],
    request: Request,
    calibration: Calibration | None,
) -> Shared:
    """Choose ranks for several layers under one rule and factorize their kernels.

    With data a layer's curve is the error of the whole network when that layer alone is
    factorized, measured on held-out inputs at a few ranks; without, it is the energy that its
    kernel loses. Both add up, nearly, over layers.

    Args:
        tasks: The layers.
        request: Rank rule and method.
        calibration: Their inputs and the network, where there is data.

    Raises:
        RankError: If no ranks fit the request.
        KernelError: If a kernel or its inputs are not finite; names the layer.
    """
    probe = None if calibration is None else calibration.probe
    measurable = probe is not None and probe.original.error_rate is not None
    rule, value, is_default = pick_rule(
        request.rank, request.energy, request.reduction, request.max_drop, has_data=measurable
    )
    if rule == "rank":
        return _at_one_rank(tasks, int(value), request)
    for task in tasks:
        check_layer(task.target.layer, 1)
    curves = [_curve(task, calibration) for task in tasks]
    judged = "" if calibration is None else f" {calibration.judged}"
    asked = {
        "reduction": f"to save {100 * value:g} % of them",
        "energy": f"to keep {100 * value:g} % of their energy on average",
        "max_drop": f"to lose at most {in_points(value)}{judged}",
    }[rule]
    if rule == "reduction":
        ranks = _within_reduction(curves, value)
    elif rule == "energy":
        ranks = _keeping(tasks, curves, value)
        if is_default and all(rank is None for rank in ranks):
            # A choice of ours is never refused: the most energy that still saves something.
            ranks = tuple(curve.most for curve in curves)
            asked = f"to keep the most energy that still saves something ({100 * value:g} % would save nothing)"
    else:
        ranks = _within_drop(tasks, curves, value, calibration)
    return _result(tasks, curves, ranks, rule, value, is_default, asked)


def _at_one_rank(tasks: Sequence[LayerTask], rank: int, request: Request) -> Shared:
    """Factorize every layer at the same rank, those that were not named only where it saves."""
    found, remarks = [], []
    for task in tasks:
        layer = task.target.layer
        if request.every_dense and not request.force and rank > largest_useful(layer):
            remarks.append(
                f"Layer {layer.path} stays whole: rank {rank} would not make it smaller."
            )
            continue
        check_layer(layer, rank, force=request.force)
        choice = RankChoice(rank, "rank", rank, False, {}, f"rank {rank}, as asked")
        found.append(task.factorized(choice))
    if not found:
        msg = f"Rank {rank} makes no Dense layer of this model smaller; ask for a lower rank."
        raise RankError(msg, code="rank_saves_nothing")
    return Shared(found, remarks)


def _curve(task: LayerTask, calibration: Calibration | None) -> Curve:
    """Return a layer's error by rank."""
    layer = task.target.layer
    most = largest_useful(layer)
    if calibration is None or calibration.probe is None:
        shares = task.energies()
        errors = {r: float(1 - shares[r - 1]) for r in range(1, most + 1)}
        return Curve(layer.kernel_shape, errors, split=layer.rank)
    ranks = spread_ranks(most, TRIED)
    # The closed form stands for one that improves on it, which falls in the same way.
    method = METHODS[task.method].closed_form or task.method
    errors = {}
    for done, (rank, factors) in enumerate(sorted(task.at_ranks(ranks, method).items()), 1):
        trial = calibration.probe(in_network(layer, factors), f"{layer.name}, rank {rank}")
        # More rank cannot be worse but for noise.
        errors[rank] = min(trial.output_error, *errors.values()) if errors else trial.output_error
        progress(f"trying {layer.name} alone", done, len(ranks))
    return Curve(layer.kernel_shape, errors, split=layer.rank)


def _within_reduction(curves: Sequence[Curve], share: float) -> Ranks:
    """Return the best ranks that save a share of all kernels together."""
    whole = sum(curve.price(None) for curve in curves)
    ranks = best_within(curves, int((1 - share) * whole + 1e-6))
    if ranks is None:
        most = 1 - sum(curve.price(1) for curve in curves) / whole
        msg = (
            f"No ranks save {100 * share:g} % of these {len(curves)} layers: rank 1 in each saves "
            f"{100 * most:.1f} %; ask for less."
        )
        raise RankError(msg, code="reduction_unreachable")
    return ranks


def _keeping(tasks: Sequence[LayerTask], curves: Sequence[Curve], share: float) -> Ranks:
    """Return the first allocation that keeps a share of the energy, averaged over the layers."""
    kept = [task.energies() for task in tasks]
    path = allocations(curves)
    below = path.last_below(
        len(tasks) * (share - 1e-12),
        lambda layer, rank: 1.0 if rank is None else float(kept[layer][rank - 1]),
    )
    return path[below + 1]


def _within_drop(
    tasks: Sequence[LayerTask],
    curves: Sequence[Curve],
    allowed: float,
    calibration: Calibration | None,
) -> Ranks:
    """Bisect along the allocations for the smallest network whose drop is allowed."""
    if calibration is None or calibration.probe is None:
        raise AssertionError  # pick_rule saw to it
    probe = calibration.probe
    grids = [rank_grid(curve.most) for curve in curves]
    path = _rounded(allocations(curves), grids)
    low, high = -1, len(path) - 1  # the last leaves every layer whole, which loses nothing
    while high - low > 1:
        middle = (low + high) // 2
        kernels: Kernels = {}
        for task, rank, grid in zip(tasks, path[middle], grids, strict=True):
            if rank is not None:
                # All of a grid at once: a method that goes down the ranks passes through them.
                ranks = grid if METHODS[task.method].closed_form else [rank]
                kernels = {**kernels, **in_network(task.target.layer, task.at_ranks(ranks)[rank])}
        trial = probe(kernels, "trying all together")
        done = len(path) - (high - low)
        progress("looking for the smallest within the drop", done, len(path))
        drop = float(trial.drop or 0.0)
        low, high = (low, middle) if drop <= allowed else (middle, high)
    if all(rank is None for rank in path[high]):
        msg = (
            f"No ranks of these {len(curves)} layers lose at most {in_points(allowed)} "
            f"{calibration.judged}; raise --max-drop, or give --reduction and fine-tune."
        )
        raise RankError(msg, code="max_drop_unreachable")
    return path[high]


def _rounded(path: Allocations, grids: Sequence[Sequence[int]]) -> Allocations:
    """Return allocations with ranks rounded up to those of a grid, each once."""
    current: list[int | None] = [1] * path.layers
    changes = []
    for layer, rank in path.changes:
        rounded = None if rank is None else min(r for r in grids[layer] if r >= rank)
        if rounded != current[layer]:
            current[layer] = rounded
            changes.append((layer, rounded))
    return Allocations(path.layers, changes)


def _result(
    tasks: Sequence[LayerTask],
    curves: Sequence[Curve],
    ranks: Ranks,
    rule: Rule,
    value: float,
    is_default: bool,
    asked: str,
) -> Shared:
    """Factorize every layer at its rank."""
    whole = sum(curve.price(None) for curve in curves)
    saved = 1 - total_price(curves, ranks) / whole
    why = " (the default: say --rank to choose yourself)" if is_default else ""
    found, remarks = [], []
    for task, rank in zip(tasks, ranks, strict=True):
        name = task.target.layer.path
        if rank is None:
            remarks.append(
                f"Layer {name} stays whole: shrinking it would cost more accuracy per parameter."
            )
            continue
        text = f"rank {rank}, chosen jointly for {len(tasks)} layers {asked} ({100 * saved:.1f} % saved){why}"
        choice = RankChoice(rank, rule, value, is_default, {}, text)
        found.append(task.factorized(choice))
    if not found:
        msg = f"No ranks of these {len(tasks)} layers save anything if they are {asked}; ask for less."
        raise RankError(msg, code="nothing_to_gain")
    return Shared(found, remarks)
