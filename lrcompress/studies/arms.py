"""The arms of a comparison, which docs/comparing.md names, each measured on the same test data."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lrcompress.errors import RankError
from lrcompress.files import check_output
from lrcompress.live import engine, storing
from lrcompress.lowrank import one_blas_thread
from lrcompress.modelfile import find_head, open_model
from lrcompress.records.schema import Row as RowSchema
from lrcompress.studies.full_rank import Data, FullRank, head_figures, open_full
from lrcompress.studies.networks import RECIPES, Narrow, Recipe, own_recipe
from lrcompress.studies.request import CompareRequest, file_stem
from lrcompress.studies.rows import (
    Epochs,
    Job,
    Key,
    PastRun,
    Row,
    RowFile,
    copy_model,
    find_past_runs,
    new_document,
    take_row,
    work_through,
)
from lrcompress.studies.scratch import Trainer, model_name
from lrcompress.studies.summary import summarize_comparison


@dataclass(frozen=True)
class Plan:
    """What all rows of a comparison have in common."""

    request: CompareRequest
    rows: RowFile
    data: Data
    # Of the arms full and scratch: what trains them, as far as that is done here, and for how long.
    trainers: dict[str, Trainer]
    epochs: Epochs
    past: Sequence[PastRun] = ()

    def full_rank(self, seed: int | None) -> FullRank:
        """Open the full-rank model of a seed, which a row holds by now."""
        path = self.request.file
        if path is None:
            key = ("full", None, seed)
            row = next(row for row in self.rows.read()["rows"] if self.rows.key(row) == key)
            path = self.rows.folder / str(row["model"])
        return open_full(path, self.data, seed)

    def kept(self, model: Any, full: FullRank, name: str) -> str | None:
        """Save a fine-tuned model if models are kept, and return its file's name."""
        if not self.request.keep_models:
            return None
        given = self.request.file
        path = self.rows.folder / f"{file_stem(self.data.name)}-{name}{full.path.suffix}"
        origin = {"dataset": self.data.name, "scaling": full.live.data.scaling.name}
        check_output(path, inputs=() if given is None else (given,), overwrite=True)
        storing.save_model(model, path, origin, overwrite=True, like=given)
        return path.name


def trained(plan: Plan, arm: str, rank: int | None, seed: int) -> Iterator[Row]:
    """Yield the row of a network trained from random weights, an earlier run's where there is one."""
    trainer = plan.trainers[arm]
    name = model_name(plan.data.name, rank, seed)
    if arm == "scratch" and rank is None:
        name += "-scratch"
    found = take_row(plan.past, plan.epochs, arm, rank, seed)
    if found is None:
        for row in trainer.rows(rank, seed, name=name):
            yield {"arm": arm, **row}
        return
    row, source = dict(found[0]), found[1]
    if source is not None:
        target = plan.rows.folder / f"{name}{source.suffix}"
        copy_model(source, target)
        row["model"] = target.name
        if "wrong" not in row:
            # Rows of the first version did not say which samples were wrong.
            row |= trainer.measured(target) | {"images": trainer.images}
    yield row


def given(plan: Plan) -> Iterator[Row]:
    """Yield the row of the user's own full-rank model, which is the same for every seed."""
    full = plan.full_rank(None)
    yield _row("full", None, None) | full.measured() | full.counts(None)


def finetuned(plan: Plan, arm: str, rank: int | None, seed: int) -> Iterator[Row]:
    """Yield the row of the network given the extra epochs, factorized before where there is a rank."""
    full = plan.full_rank(seed)
    with tempfile.TemporaryDirectory() as folder:
        path, head = full.path, None
        if rank is not None:
            path = Path(folder) / f"small{full.path.suffix}"
            with one_blas_thread():
                head = full.factorized(rank, path)
        student = storing.load_model(path)
    row = _row(arm, rank, seed) | full.counts(rank)
    row |= full.finetuned(student, plan.request.finetune_epochs, seed, head)
    name = arm if rank is None else f"rank{rank}-{arm}"
    yield row | {"model": plan.kept(student, full, f"{name}-seed{seed}")}


def untrained(
    plan: Plan, arm: str, ranks: Sequence[int], seed: int | None, missing: frozenset[Key]
) -> Iterator[Row]:
    """Yield the missing rows of a method that trains nothing."""
    full = plan.full_rank(seed)
    started = time.perf_counter()
    with one_blas_thread():
        task, samples = full.task(arm)
        # All ranks: what a pass finds at a rank depends on those above it.
        found = task.at_ranks(ranks)
        # One pass serves all ranks; each bears its part.
        seconds = (time.perf_counter() - started) / len(ranks)
        trial = full.live.test_trial(task.target)
    for rank, factors in found.items():
        if (arm, rank, seed) in missing:
            with one_blas_thread():
                figures = head_figures(trial({full.layer: factors}).wrong)
            yield _row(arm, rank, seed) | full.counts(rank) | figures | {
                "method": factors.method, "seconds": seconds, "images": 0,
                "unlabelled_images": samples, "device": engine.describe_device(),
            }  # fmt: skip


def _row(arm: str, rank: int | None, seed: int | None) -> Row:
    """Return what every row begins with."""
    return {"arm": arm, "rank": rank, "seed": seed, "loss": None, "seconds": None,
            "images": None, "model": None}  # fmt: skip


def jobs(plan: Plan, ranks: Sequence[int], seed: int) -> Iterator[Job]:
    """Yield the work for one seed, what others need first and what takes longest last."""
    arms, is_given = plan.request.arms, plan.request.file is not None
    # A model that was given is the same for every seed, and so is its truncated SVD.
    fixed = None if is_given else seed
    full: Key = ("full", None, fixed)

    def job(name: str, key: Key, run: Callable[[], Iterator[Row]], *needs: Key) -> Job:
        return Job(f"{name}-seed{key[2]}", (key,), lambda missing: run(), needs)

    make = partial(given, plan) if is_given else partial(trained, plan, "full", None, seed)
    yield job("full", full, make)
    if "full-finetuned" in arms:
        key: Key = ("full-finetuned", None, seed)
        yield job("full-finetuned", key, partial(finetuned, plan, *key), full)
    for arm in ("svd", "refined"):
        if arm in arms:
            of = fixed if arm == "svd" else seed
            keys = tuple((arm, rank, of) for rank in ranks)
            yield Job(f"{arm}-seed{of}", keys, partial(untrained, plan, arm, ranks, of), (full,))
    for rank in ranks if "finetuned" in arms else ():
        key = ("finetuned", rank, seed)
        yield job(f"finetuned-rank{rank}", key, partial(finetuned, plan, *key), full)
    if "scratch" in arms:
        # With other epochs than the full-rank network's, these have a full-rank row of their own.
        other = not is_given and plan.epochs["scratch"] != plan.epochs["full"]
        for each in [*([None] if other else []), *ranks]:
            name = f"scratch-{'full' if each is None else f'rank{each}'}"
            yield job(name, ("scratch", each, seed), partial(trained, plan, "scratch", each, seed))


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
