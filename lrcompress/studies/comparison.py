"""Compressing a trained network against training a small one, rank by rank, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrcompress.errors import RankError
from lrcompress.modelfile import find_head, open_model
from lrcompress.records.schema import Row as RowSchema
from lrcompress.studies.arms import Plan, jobs
from lrcompress.studies.full_rank import Data
from lrcompress.studies.networks import RECIPES, Recipe
from lrcompress.studies.own import Narrow, own_recipe
from lrcompress.studies.request import CompareRequest
from lrcompress.studies.reuse import find_past_runs
from lrcompress.studies.rows import RowFile, new_document, work_through
from lrcompress.studies.scratch import Trainer
from lrcompress.studies.summary import summarize_comparison


def compare_networks(
    request: CompareRequest,
    data: Data,
    folder: Path,
    narrow: Narrow,
    *,
    ranks: Sequence[int] | None,
    seeds: Sequence[int],
    rows_from: Sequence[str | Path],
) -> dict[str, Any]:
    """Work out the rows that a folder lacks, and return its results document; see `lrcompress.compare`."""
    recipe, scaling = None, data.scaling
    if request.model is None:
        recipe = RECIPES[data.name]
    elif request.file is None or "scratch" in request.arms:
        recipe = own_recipe(request.model, data.loaded, narrow, scaling)
    if request.file is None and recipe is not None:
        scaling = recipe.scaling
    wanted = _ranks(ranks, recipe, request.file)
    counts = request.trained_epochs(recipe)
    settings = request.settings(data.name, recipe, scaling)
    rows = results_file(folder, settings)
    # Other settings are refused before anything is trained.
    rows.read()
    trainers = {
        arm: Trainer(data.loaded, data.name, recipe.lasting(count, settings["batch_size"]), folder)
        for arm, count in counts.items()
        if recipe is not None and count is not None
    }
    past = find_past_runs([Path(run) for run in rows_from], settings, counts)
    plan = Plan(request, rows, replace(data, scaling=scaling), trainers, counts, past)
    return work_through(rows, [job for seed in seeds for job in jobs(plan, wanted, seed)])


def results_file(folder: Path, settings: dict[str, Any]) -> RowFile:
    """Return the results document of a folder, there or new."""
    return RowFile(
        folder / "compare.json", new_document("compare", 1, settings), ("arm", "rank", "seed"),
        complete=summarize_comparison, schema=list[RowSchema],
    )  # fmt: skip


def _ranks(ranks: Sequence[int] | None, recipe: Recipe | None, file: Path | None) -> list[int]:
    """Return the ranks from the highest, each checked against the final layer."""
    if ranks is None and recipe is not None:
        ranks = [rank for rank in recipe.ranks if rank is not None]
    if not ranks:
        msg = "No ranks are given and none are published for this network; give --ranks, for example 40,20,10."
        raise RankError(msg, code="no_ranks")
    m, n = (0, 0) if recipe is None else (recipe.features, recipe.classes)
    if file is not None:
        m, n = find_head(open_model(file)).kernel_shape
    for rank in ranks:
        if not 1 <= rank <= min(m, n):
            msg = f"Rank {rank} does not fit a final layer of {m} x {n}; expected 1 to {min(m, n)}."
            raise RankError(msg)
    return sorted(set(ranks), reverse=True)
