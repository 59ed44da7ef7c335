"""Files and records that hold code or name it, each kind under each command: nothing may run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
from click.testing import CliRunner, Result

from attacks._payloads import HELPERS, SECRET, write, write_others

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DATA = ["--dataset", "digits"]
# What a model file is given to; the first words of a command line, and the last.
COMMANDS: dict[str, tuple[list[Any], list[Any]]] = {
    "inspect": (["inspect"], []),
    "factorize": (["factorize"], ["--rank", 4, "-o", "out.keras"]),
    "factorize, other format": (["factorize"], ["--rank", 4, "-o", "out.h5"]),
    "factorize, data": (["factorize"], [*DATA, "--rank", 4, "-o", "out.keras"]),
    "modernize": (["modernize"], ["-o", "out.keras"]),
    "modernize, other format": (["modernize"], ["-o", "out.h5"]),
    "merge": (["merge"], ["-o", "out.keras"]),
    "sweep": (["sweep"], [*DATA, "--ranks", 2]),
    "evaluate": (["evaluate"], DATA),
    "evaluate, second": (["evaluate", "good.keras"], DATA),
    "finetune": (["finetune"], [*DATA, "--epochs", 1, "-o", "out.keras"]),
    "benchmark": (["benchmark"], ["--seconds", 0.01]),
    "export": (["export"], ["-o", "out.tflite"]),
    "export, against": (["export", "good.keras", "-o", "out.onnx", "--against"], []),
    "compare": (["compare"], [*DATA, "--ranks", 2, "--arms", "svd", "-o", "compared"]),
    "train-from-scratch": (
        ["train-from-scratch", "--model"],
        [*DATA, "--ranks", 2, "--epochs", 1, "-o", "trained"],
    ),
}
# Data sets that a file has no business to name.
NAMES = (
    "helpers:data",
    "keras_hub:data",
    "os:abort",
    "os:fork",
    "code:interact",
    "posix:abort",
    "../x.npz",
)


def attack(work: Path, count: int | None) -> dict[str, int]:
    """Give hostile files to every command, in a child process, and count what becomes of them.

    Args:
        work: An empty folder.
        count: How many files of each format; None for all.
    """
    command = [sys.executable, "-m", "attacks.naming", str(work), str(count or 10**6)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], env=environment, stdin=subprocess.DEVNULL
    )
    result = work / "counts.json"
    counts: dict[str, int] = json.loads(result.read_text()) if result.exists() else {}
    return counts | {"bad_died": int(done.returncode != 0)}


def watched() -> set[str]:
    """Return a set that takes in what is reached for from now on and no file may lead to."""
    seen: set[str] = set()
    modules = {path.split("/")[0].removesuffix(".py") for path in HELPERS} | {"code"}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import" and str(arguments[0]).split(".")[0] in modules:
            seen.add("imported")
        elif event == "open" and str(arguments[0]).endswith(SECRET):
            seen.add("read")
        elif event in (
            "os.system",
            "socket.connect",
            "urllib.Request",
            "subprocess.Popen",
            "os.fork",
        ):
            seen.add("reached_out")

    sys.addaudithook(hook)
    return seen


def main(work: Path, count: int) -> None:
    """Do the attacks of `attack` in this process."""
    os.chdir(work)
    sys.path.insert(0, str(work))
    shutil.copyfile(EXAMPLES / "digits_cnn.keras", "good.keras")
    shutil.copyfile(EXAMPLES / "digits_cnn.h5", "good.h5")
    run("factorize", "good.keras", "--rank", 4, "-o", "small.keras")
    # Once with an honest file, so that what libraries do when they start is not counted.
    run("evaluate", "good.keras", *DATA)
    run("export", "small.keras", "-o", "warm.tflite")
    run("export", "small.keras", "-o", "warm.onnx")
    counts: Counter[str] = Counter()
    seen = watched()
    for path in files(work, count):
        for first, last in COMMANDS.values():
            counts[outcome(seen, *first, path.name, *last)] += 1
        counts["files"] += 1
    for name in NAMES:
        for words in named(name):
            counts[outcome(seen, *words)] += 1
        counts["records"] += 1
    Path("counts.json").write_text(json.dumps(dict(sorted(counts.items()))))


def files(work: Path, count: int) -> Iterator[Path]:
    """Yield hostile model files, an even choice of them where not all are wanted."""
    found = [p for good in ("good.keras", "good.h5") for p in write(work / good, work)]
    step = max(1, len(found) // count)
    yield from found[::step]
    yield from write_others(work / "good.keras", work / "good.h5", work)


def named(name: str) -> Iterator[list[Any]]:
    """Yield commands on a record, a teacher and model files that name a data set."""
    record = json.loads(Path("small.lrcompress.json").read_text())
    said = {"name": name, "dataset": name, "scaling": "as-is", "data_dir": "/"}
    record["dataset"] = said
    Path("named.lrcompress.json").write_text(json.dumps(record))
    yield ["finetune", "--run", "named.lrcompress.json", "--epochs", 1]
    yield ["benchmark", "--run", "named.lrcompress.json", "--seconds", 0.01]
    yield ["report", "--run", "named.lrcompress.json"]
    shutil.copyfile("good.h5", "named.h5")
    with h5py.File("named.h5", "r+") as file:
        file.attrs["lrcompress"] = json.dumps(said)
    with zipfile.ZipFile("good.keras") as old, zipfile.ZipFile("named.keras", "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == "metadata.json":
                content = json.dumps(json.loads(content) | {"lrcompress": said}).encode()
            new.writestr(member, content)
    for path in ("named.h5", "named.keras"):
        for first, last in COMMANDS.values():
            yield [*first, path, *[word for word in last if word not in DATA]]


def run(*words: object) -> Result:
    """Run a command in this process."""
    from lrcompress.cli import main as command

    return CliRunner().invoke(
        command, [*map(str, words), *([] if words[0] == "report" else ["-q"])]
    )


def outcome(seen: set[str], *words: object) -> str:
    """Return what became of a command."""
    seen.clear()
    result = run(*words)
    for path in ("out.keras", "out.h5", "out.tflite", "out.onnx", "out.lrcompress.json"):
        Path(path).unlink(missing_ok=True)
    for folder in ("compared", "trained"):
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        Path("RAN").unlink()
        seen.add("ran")
    if seen:
        print("bad:", sorted(seen), *words, file=sys.stderr)
        return f"bad_{min(seen)}"
    if not isinstance(result.exception, (SystemExit, type(None))):
        print("traceback:", *words, repr(result.exception), file=sys.stderr)
        return "bad_traceback"
    if result.exit_code == 0:
        return "done, nothing run"
    lines = [line for line in result.stderr.splitlines() if line.startswith(("Error: ", "Usage: "))]
    if len(lines) != 1 or "Usage" in result.stderr:
        print("not one line:", *words, result.stderr[-300:], file=sys.stderr)
        return "bad_message"
    return "refused in one line"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
