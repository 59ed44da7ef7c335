"""The arms of a comparison: ways to end with a small network, each measured on the same test data.

| arm | what it is |
|---|---|
| ``full`` | the full-rank network |
| ``full-finetuned`` | the same, given the extra epochs that ``finetuned`` gets |
| ``svd`` | its final layer by truncated SVD, nothing trained |
| ``refined`` | its final layer by the best method on unlabelled training inputs, nothing trained |
| ``finetuned`` | factorized, then a few epochs |
| ``scratch`` | the low-rank network from random weights |
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lrcompress.files import check_output
from lrcompress.live import engine, storing
from lrcompress.lowrank import one_blas_thread
from lrcompress.studies.full_rank import Data, FullRank, head_figures, open_full
from lrcompress.studies.request import CompareRequest, file_stem
from lrcompress.studies.reuse import Epochs, PastRun, copy_model, take_row
from lrcompress.studies.rows import Job, Key, Row, RowFile
from lrcompress.studies.scratch import Trainer, model_name


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
    """Yield the missing rows of a method that trains nothing.

    All ranks of the comparison are worked out: what a pass finds at a rank depends on those above it.
    """
    full = plan.full_rank(seed)
    started = time.perf_counter()
    with one_blas_thread():
        task, samples = full.task(arm)
        found = task.at_ranks(ranks)
        # One pass serves all ranks; each bears its part.
        seconds = (time.perf_counter() - started) / len(ranks)
        trial = full.live.test_trial(task.target)
    for rank, factors in found.items():
        if (arm, rank, seed) in missing:
            with one_blas_thread():
                figures = head_figures(trial({full.layer: factors}).wrong)
            yield (
                _row(arm, rank, seed)
                | full.counts(rank)
                | figures
                | {
                    "method": factors.method,
                    "seconds": seconds,
                    "images": 0,
                    "unlabelled_images": samples,
                    "device": engine.describe_device(),
                }
            )


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
