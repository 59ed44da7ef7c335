"""Six writers at once, in rounds: on one output, on outputs of their own, on one record."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from attacks._forked import Forked, Job, forked
from lrcompress.records import runs

EXAMPLES = Path(__file__).parents[2] / "examples"
WRITERS = range(6)
ROUNDS = 20
# Every so many-th round is of fine-tunings, which take seconds each.
FINETUNED = 7


def attack(work: Path, count: int | None) -> dict[str, int]:
    """Let six writers meet, round after round, and count what was lost."""
    counts = Counter({"bad_lost": 0, "bad_files_left": 0, "bad_torn": 0, "bad_tracebacks": 0})
    with forked() as process:
        for number in range(count or ROUNDS):
            folder = work / str(number)
            folder.mkdir()
            shutil.copy(EXAMPLES / "digits_cnn.keras", folder / "model.keras")
            kind = (
                _on_one_record
                if number % FINETUNED == FINETUNED - 1
                else KINDS[number % len(KINDS)]
            )
            done = kind(process, work, folder, counts)
            counts["rounds"] += 1
            counts["writers"] += len(done)
            counts["bad_tracebacks"] += sum("Traceback" in job["stderr"] for job in done)
            counts["bad_files_left"] += any(p.name.startswith(".") for p in folder.iterdir())
            shutil.rmtree(folder)
    return dict(counts)


def _on_one_output(process: Forked, work: Path, folder: Path, counts: Counter[str]) -> list[Job]:
    """Only the first to finish has the output; the others say that it exists."""
    done = process.run(*(_factorize(work, folder, i + 1, "out.keras") for i in WRITERS))
    winners = [i for i, job in zip(WRITERS, done, strict=True) if job["code"] == 0]
    counts["bad_lost"] += len(winners) != 1
    counts["bad_torn"] += not _agree(folder / "out.keras", rank=winners[0] + 1 if winners else 0)
    counts["told_that_it_exists"] += sum("already exists" in job["stderr"] for job in done)
    return done


def _replacing_one_output(
    process: Forked, work: Path, folder: Path, counts: Counter[str]
) -> list[Job]:
    """With --overwrite all succeed, and the file is whole and one of theirs."""
    done = process.run(
        *(_factorize(work, folder, i + 1, "out.keras", "--overwrite") for i in WRITERS)
    )
    counts["bad_lost"] += sum(job["code"] != 0 for job in done)
    runs.read(folder / "out.lrcompress.json")
    hashes = set()
    for i in WRITERS:
        (job,) = process.run(_factorize(work, folder, i + 1, f"own{i}.keras"))
        counts["bad_lost"] += job["code"] != 0
        hashes.add(runs.sha256(folder / f"own{i}.keras"))
    counts["bad_torn"] += runs.sha256(folder / "out.keras") not in hashes
    return done


def _on_own_outputs(process: Forked, work: Path, folder: Path, counts: Counter[str]) -> list[Job]:
    """In one folder nobody takes away another's work."""
    done = process.run(*(_factorize(work, folder, i + 1, f"out{i}.keras") for i in WRITERS))
    for i in WRITERS:
        counts["bad_lost"] += not _agree(folder / f"out{i}.keras", rank=i + 1)
    return done


def _on_one_record(process: Forked, work: Path, folder: Path, counts: Counter[str]) -> list[Job]:
    """Fine-tunings side by side each leave their entry and their model."""
    process.run(_factorize(work, folder, 3, "small.keras"))
    lines = [
        ("finetune", "small.keras", "--scope", "head", "--epochs", "1", "-o", f"tuned{i}.keras")
        for i in WRITERS
    ]
    done = process.run(*(_job(work, folder, i, *line) for i, line in enumerate(lines)))
    found = runs.read(folder / "small.lrcompress.json").document["finetune"]
    there = {entry["output"] for entry in found}
    counts["bad_lost"] += sum(
        f"tuned{i}.keras" not in there or not (folder / f"tuned{i}.keras").is_file()
        for i in WRITERS
    )
    return done


KINDS = (_on_one_output, _on_own_outputs, _replacing_one_output)


def _job(work: Path, folder: Path, number: int, *arguments: str) -> Job:
    temporary = work / f"temporary{number}"
    temporary.mkdir(exist_ok=True)
    temporary.with_suffix(".stderr").unlink(missing_ok=True)
    return {"arguments": [*arguments, "-q"], "folder": str(folder), "temporary": str(temporary)}


def _factorize(work: Path, folder: Path, rank: int, output: str, *more: str) -> Job:
    return _job(
        work, folder, rank, "factorize", "model.keras", "--rank", str(rank), "-o", output, *more
    )


def _agree(model: Path, rank: int) -> bool:
    """Return whether a model is there with a record that speaks of it, at a rank."""
    if not model.is_file():
        return False
    record = runs.read(runs.record_path(model))
    stage = record.stage("factorized") or {}
    is_rank = record.document["layers"][0]["rank"] == rank
    return bool(is_rank and stage.get("sha256") == runs.sha256(model))
