"""Working out the rows of a comparison, arm by arm."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.files import check_output
from lrcompress.lowrank import one_blas_thread
from lrcompress.studies.full_rank import Data, FullRank, head_figures, open_full, split_head
from lrcompress.studies.reuse import Earlier, copy_model, take_row
from lrcompress.verbs.factorize import factorize

if TYPE_CHECKING:
    from lrcompress.studies.rows import Job, Key, RowFile
    from lrcompress.studies.trainer import Trainer
    from lrcompress.train.settings import FinetuneSettings

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What all rows of a comparison have in common.

    Attributes:
        rows: The results document.
        data: The data set.
        file: The user's full-rank model; None where it is trained here.
        trainers: What trains the arms ``full`` and ``scratch``, as far as they are trained here.
        epochs: What these are trained for.
        earlier: Runs whose rows are taken over.
        finetune_epochs: The extra epochs.
        keep_models: Whether every row's model is kept, not only those that are trained for long.
    """

    rows: RowFile
    data: Data
    file: Path | None
    trainers: dict[str, Trainer]
    epochs: dict[str, int | None]
    earlier: Sequence[Earlier] = ()
    finetune_epochs: int = 2
    keep_models: bool = False

    def full_rank(self, seed: int | None) -> FullRank:
        """Open the full-rank model of a seed, which a row holds by now."""
        path = self.file
        if path is None:
            key = ("full", None, seed)
            row = next(row for row in self.rows.read()["rows"] if self.rows.key(row) == key)
            path = self.rows.folder / str(row["model"])
        return open_full(path, self.data, seed)

    def settings(self, seed: int) -> FinetuneSettings:
        """Return how students are fine-tuned."""
        from lrcompress.train.settings import FinetuneSettings

        return FinetuneSettings(epochs=self.finetune_epochs, seed=seed)

    def kept(self, model: Any, full: FullRank, name: str) -> str | None:
        """Save a fine-tuned model if models are kept, and return its file's name."""
        if not self.keep_models:
            return None
        from lrcompress.live.storing import save_model
        from lrcompress.studies.trainer import file_stem

        path = self.rows.folder / f"{file_stem(self.data.name)}-{name}{full.path.suffix}"
        origin = {"dataset": self.data.name, "scaling": full.live.data.scaling.name}
        check_output(path, inputs=() if self.file is None else (self.file,), overwrite=True)
        save_model(model, path, origin, overwrite=True, like=self.file)
        return path.name


def trained(plan: Plan, arm: str, rank: int | None, seed: int) -> Iterator[Row]:
    """Yield the row of a network trained from random weights, an earlier run's where there is one."""
    from lrcompress.studies.trainer import model_name

    trainer = plan.trainers[arm]
    name = model_name(plan.data.name, rank, seed)
    if arm == "scratch":
        name += "-scratch" if rank is None else ""
    found = taken(plan, arm, rank, seed, name)
    if found is not None:
        yield found
        return
    for row in trainer.rows(rank, seed, name=name):
        yield {"arm": arm, **row}


def taken(plan: Plan, arm: str, rank: int | None, seed: int | None, name: str) -> Row | None:
    """Return a row that an earlier run left, its model copied; None if there is none."""
    found = take_row(plan.earlier, plan.epochs, arm, rank, seed)
    if found is None:
        return None
    row, source = dict(found[0]), found[1]
    if source is not None:
        target = plan.rows.folder / f"{name}{source.suffix}"
        copy_model(source, target)
        row["model"] = target.name
        if "wrong" not in row:
            # Rows of the first version did not say which samples were wrong.
            row |= plan.trainers[arm].measured(target)
            row["images"] = plan.trainers[arm].images
    return row


def given(plan: Plan) -> Iterator[Row]:
    """Yield the row of the user's own full-rank model, which is the same for every seed."""
    full = plan.full_rank(None)
    yield _row("full", None, None) | full.measured() | full.counts(None)


def longer(plan: Plan, seed: int) -> Iterator[Row]:
    """Yield the row of the full-rank network given the extra epochs."""
    from lrcompress.live import storing

    full = plan.full_rank(seed)
    student = storing.load_model(full.path)
    row = _row("full-finetuned", None, seed) | full.counts(None)
    row |= full.finetuned(student, plan.settings(seed), None)
    yield row | {"model": plan.kept(student, full, f"full-finetuned-seed{seed}")}


def finetuned(plan: Plan, rank: int, seed: int) -> Iterator[Row]:
    """Yield the row of the network that is factorized, then given the extra epochs."""
    from lrcompress.live import storing

    full = plan.full_rank(seed)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / f"small{full.path.suffix}"
        made = factorize(full.path, rank=rank, force=True, output=small)
        student = storing.load_model(small)
    row = _row("finetuned", rank, seed) | full.counts(rank)
    row |= full.finetuned(student, plan.settings(seed), split_head(made.layers[0]))
    yield row | {"model": plan.kept(student, full, f"rank{rank}-finetuned-seed{seed}")}


def heads(
    plan: Plan, arm: str, ranks: Sequence[int], seed: int | None, missing: frozenset[Key]
) -> Iterator[Row]:
    """Yield the rows of a method that trains nothing.

    Args:
        plan: What all rows share.
        arm: svd or refined.
        ranks: All ranks of the comparison: what a pass finds at a rank depends on those above it.
        seed: Of the held-out part; None where nothing depends on it.
        missing: The rows wanted.
    """
    from lrcompress.live import engine

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


def jobs(plan: Plan, arms: Sequence[str], ranks: Sequence[int], seed: int) -> Iterator[Job]:
    """Yield the work for one seed, what others need first and what takes longest last.

    Args:
        plan: What all rows share.
        arms: The arms wanted.
        ranks: From the highest.
        seed: Of everything that is random.
    """
    from lrcompress.studies.rows import Job

    # A model that was given is the same for every seed, and so is its truncated SVD.
    fixed = None if plan.file is not None else seed
    full: Key = ("full", None, fixed)
    key: Key

    def job(name: str, key: Key, run: Callable[[], Iterator[Row]], *needs: Key) -> Job:
        return Job(f"{name}-seed{key[2]}", (key,), lambda missing: run(), needs)

    if plan.file is not None:
        yield job("full", full, partial(given, plan))
    else:
        yield job("full", full, partial(trained, plan, "full", None, seed))
    if "full-finetuned" in arms:
        key = ("full-finetuned", None, seed)
        yield job("full-finetuned", key, partial(longer, plan, seed), full)
    for arm in ("svd", "refined"):
        if arm in arms:
            of = fixed if arm == "svd" else seed
            keys = tuple((arm, rank, of) for rank in ranks)
            yield Job(f"{arm}-seed{of}", keys, partial(heads, plan, arm, ranks, of), (full,))
    for rank in ranks if "finetuned" in arms else ():
        key = ("finetuned", rank, seed)
        yield job(f"finetuned-rank{rank}", key, partial(finetuned, plan, rank, seed), full)
    if "scratch" in arms:
        # With other epochs than the full-rank network's, these have a full-rank row of their own.
        other = plan.file is None and plan.epochs["scratch"] != plan.epochs["full"]
        for each in [*([None] if other else []), *ranks]:
            name = f"scratch-{'full' if each is None else f'rank{each}'}"
            yield job(name, ("scratch", each, seed), partial(trained, plan, "scratch", each, seed))
