"""Every command that writes, ended at random moments by KILL, TERM, HUP and INT."""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attacks._forked import Forked, Job, forked
from lrcompress.records import runs

EXAMPLES = Path(__file__).parents[2] / "examples"
SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
KILLS = 200


@dataclass(frozen=True)
class Verb:
    """A command that writes.

    Attributes:
        arguments: Its line.
        again: What the next run adds to it.
        outputs: What it may leave; the first two, where ``paired``, are a model and its record.
        share: Of the kills; those that start Keras' work take seconds each.
        paired: Whether it writes a model and its record.
    """

    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    share: int = 6
    again: tuple[str, ...] = ("--overwrite",)
    paired: bool = False


_PAIR = ("out.keras", "out.lrcompress.json")
_STATE = ("out.checkpoint.npz",)
VERBS = {
    "factorize": Verb(("factorize", "model.keras", "--rank", "3", "-o", "out.keras"), _PAIR, paired=True),
    "factorize in HDF5": Verb(
        ("factorize", "model.h5", "--rank", "3", "-o", "out.h5"), ("out.h5", _PAIR[1]), paired=True
    ),
    "merge": Verb(("merge", "small.keras", "-o", "out.keras"), _PAIR[:1]),
    "modernize": Verb(("modernize", "model.h5", "-o", "out.h5"), ("out.h5",)),
    "sweep": Verb(("sweep", "model.keras", "--plot", "out.png"), ("out.png",)),
    "report": Verb(("report", "small.lrcompress.json", "-o", "out.html"), ("out.html",)),
    "finetune": Verb(
        ("finetune", "small.keras", "--epochs", "1", "-o", "out.keras"), (*_PAIR[:1], *_STATE), share=2
    ),
    "export": Verb(
        ("export", "small.keras", "--format", "saved-model", "-o", "out"), ("out",), share=2
    ),
    "train-from-scratch": Verb(
        ("train-from-scratch", "--dataset", "digits", "--ranks", "2", "--epochs", "1", "-o", "out"),
        ("out",), share=2, again=(),
    ),
    "compare": Verb(
        ("compare", "model.keras", "--dataset", "digits", "--ranks", "2", "--arms", "svd", "-o", "out"),
        ("out",), share=2, again=(),
    ),
}  # fmt: skip
INPUTS = ("model.keras", "model.h5", "small.keras")


def attack(work: Path, count: int | None) -> dict[str, int]:
    """End commands at random moments, and count what that cost."""
    draw, counts = random.Random(0), Counter({"bad_inputs_changed": 0, "bad_files_left": 0,
                                              "bad_pairs_torn": 0, "bad_exit_codes": 0,
                                              "bad_tracebacks": 0, "bad_next_runs": 0})  # fmt: skip
    inputs = work / "inputs"
    inputs.mkdir()
    for name in INPUTS[:2]:
        shutil.copy(EXAMPLES / f"digits_cnn{Path(name).suffix}", inputs / name)
    with forked() as process:
        _run(
            process, work, inputs, ("factorize", "model.keras", "--rank", "3", "-o", "small.keras")
        )
        whole: dict[str, float] = {}
        cases = itertools.islice(_cases(), count or KILLS)
        for number, (name, ending) in enumerate(cases):
            verb, folder = VERBS[name], work / str(number)
            if name not in whole:
                whole[name] = _run(
                    process, work, _copy(inputs, work / f"{name} whole"), verb.arguments
                )
            _copy(inputs, folder)
            before = _digests(folder)
            after = whole[name] * draw.random()
            done = _started(process, work, folder, verb.arguments, signal=ending, after=after)
            counts["kills"] += 1
            counts[f"by_{ending}"] += 1
            counts["ended_before_the_signal"] += done["code"] == 0
            counts["bad_tracebacks"] += "Traceback" in done["stderr"]
            counts["bad_exit_codes"] += done["code"] not in _codes(ending)
            if ending == "SIGKILL":
                again = _started(process, work, folder, (*verb.arguments, *verb.again))
                counts["bad_next_runs"] += again["code"] != 0
            now = _digests(folder)
            # The record is extended by a fine-tuning that came to its end.
            changed = [k for k in before if now.get(k) != before[k] and not k.endswith(".json")]
            counts["bad_inputs_changed"] += bool(changed)
            left = {path.name for path in folder.iterdir()} - set(before) - set(verb.outputs)
            left |= {path.name for path in (work / "temporary").iterdir()}
            counts["bad_files_left"] += bool(left)
            counts["bad_pairs_torn"] += verb.paired and not _is_whole(folder, *verb.outputs[:2])
            shutil.rmtree(folder)
    return dict(counts)


def _cases() -> Iterator[tuple[str, str]]:
    """Yield commands and signals, each command as often as its share."""
    endings = {name: itertools.cycle(SIGNALS) for name in VERBS}
    while True:
        for name, verb in VERBS.items():
            for _ in range(verb.share):
                yield name, next(endings[name])


def _codes(ending: str) -> set[int]:
    """Return the exit codes that are right: 0 where the signal came too late, -n where too early."""
    number = getattr(signal, ending)
    return {0, -number, 1 if ending == "SIGINT" else 128 + number}


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def _started(
    process: Forked, work: Path, folder: Path, arguments: tuple[str, ...], **ending: object
) -> Job:
    temporary = work / "temporary"
    temporary.mkdir(exist_ok=True)
    for name in ("stdout", "stderr"):
        temporary.with_suffix(f".{name}").unlink(missing_ok=True)
    job = {"arguments": [*arguments, "-q"], "folder": str(folder), "temporary": str(temporary)}
    return process.run(job | ending)[0]


def _run(process: Forked, work: Path, folder: Path, arguments: tuple[str, ...]) -> float:
    """Run a command to its end; return the seconds."""
    done = _started(process, work, folder, arguments)
    if done["code"]:
        raise RuntimeError(done["stderr"])
    return float(done["seconds"])


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


def _is_whole(folder: Path, model: str, record: str) -> bool:
    """Return whether a model and its record are both there and agree, or neither is there."""
    paths = folder / model, folder / record
    if not all(path.exists() for path in paths):
        return not any(path.exists() for path in paths)
    stage = runs.read(paths[1]).stage("factorized") or {}
    return bool(stage.get("sha256") == runs.sha256(paths[0]))
