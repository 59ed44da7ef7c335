"""Five jobs as a new user would do them, timed: one command each, and what it says.

    python benchmarks/five_jobs.py --output benchmarks/results/five-jobs.json

| job | needs |
|---|---|
| mnist: an MNIST `.h5` becomes 8-bit LiteRT | LRCOMPRESS_PAPER_MNIST, LRCOMPRESS_DATA |
| cifar100: which rank for a CIFAR-100 network | LRCOMPRESS_PAPER_CIFAR100, LRCOMPRESS_DATA |
| text: an LSTM that classifies texts, on data of one's own | LRCOMPRESS_NETWORKS |
| mobilenet, vgg16: random weights, no data | Keras' applications |
| jax: a live model in a training script | jax |

A job whose variable or package is missing is skipped. Seconds are wall time and CPU time of the command with all of its
threads; `silence` is the longest time without a line on stderr. All of it takes about half an hour on two free cores;
`--job` takes one.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import lrcompress

COMMAND = ["python", "benchmarks/five_jobs.py", "--output", "benchmarks/results/five-jobs.json"]
COMPRESS = (sys.executable, "-m", "lrcompress", "compress")
JAX_SCRIPT = """
import keras, numpy as np, lrcompress
from lrcompress.data.sources import load

digits = load("digits")
x, y = digits.x_train[..., None] / 16.0, digits.y_train
keras.utils.set_random_seed(0)
model = keras.Sequential([
    keras.Input((8, 8, 1)),
    keras.layers.Conv2D(32, 3, activation="relu"), keras.layers.Conv2D(32, 3, activation="relu"),
    keras.layers.Flatten(), keras.layers.Dense(256, activation="relu"), keras.layers.Dense(10, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=8, batch_size=64, verbose=0)
data = {"x_train": x, "y_train": y, "x_test": digits.x_test[..., None] / 16.0, "y_test": digits.y_test}
result = lrcompress.compress(model, dataset=data, scaling="as-is")
document = result.to_json()
document["engine"] = keras.backend.backend()
document["predicts"] = list(result.model.predict(x[:2], verbose=0).shape)
import json
print(json.dumps(document))
"""


class Skipped(Exception):
    """A job that this machine cannot do."""


def needed(name: str) -> Path:
    """Return the path that an environment variable names."""
    path = Path(os.environ.get(name, ""))
    if not os.environ.get(name) or not path.exists():
        msg = f"{name} names nothing"
        raise Skipped(msg)
    return path


def timed(command: list[str], folder: Path, **more: str) -> dict[str, Any]:
    """Run a command; return its JSON document, what it used, and how long it was silent."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | more,
    )  # fmt: skip
    assert process.stderr is not None
    lines: list[tuple[float, str]] = []
    stream = process.stderr

    def listen() -> None:
        lines.extend((time.monotonic(), line.rstrip()) for line in stream)

    thread = threading.Thread(target=listen)
    thread.start()
    assert process.stdout is not None
    said = process.stdout.read()
    code = process.wait()
    thread.join()
    ended = time.monotonic()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        sys.exit(f"{' '.join(command)} failed: {lines[-1][1] if lines else code}")
    times = [started, *(when for when, _ in lines), ended]
    return {
        "command": " ".join(["lrcompress", *command[3:]])
        if command[1:3] == ["-m", "lrcompress"]
        else "a script",
        "seconds": round(ended - started, 1),
        "cpu_seconds": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1
        ),
        "silence": round(max(b - a for a, b in itertools.pairwise(times)), 1),
        "result": json.loads(said),
    }


def told(found: dict[str, Any]) -> dict[str, Any]:
    """Return what the table shows of a job that compressed."""
    result = found.pop("result")
    before, after = result["measured_before"] or {}, result["measured_after"] or {}
    export = result["export"] or {}
    errors = export.get("errors") or {}
    return found | {
        "parameters": [result["parameters_before"], result["parameters_after"]],
        "bytes": [result["bytes_before"], result["bytes_after"]],
        "budget": result["budget"],
        "inputs": result["inputs"],
        "estimated": result["estimated"],
        "error_rate": [before.get("error_rate"), after.get("error_rate")],
        "drop": result["drop"],
        "finetune": result["finetune"],
        "exported_bytes": export.get("bytes_after"),
        "exported_original_bytes": (export.get("original") or {}).get("bytes_after"),
        "exported_error_rate": errors.get("exported", {}).get("error_rate"),
        "warnings": result["warnings"],
    }


def mnist(folder: Path) -> dict[str, Any]:
    """Make an 8-bit LiteRT file of an MNIST network."""
    _saved_as(needed("LRCOMPRESS_PAPER_MNIST"), folder / "mnist.h5")
    needed("LRCOMPRESS_DATA")
    options = ["--dataset", "mnist", "--export", "litert", "--int8", "--json"]
    return told(timed([*COMPRESS, "mnist.h5", *options], folder))


def cifar100(folder: Path) -> dict[str, Any]:
    """Ask which rank a CIFAR-100 network needs."""
    shutil.copy(needed("LRCOMPRESS_PAPER_CIFAR100"), folder / "cifar100.keras")
    needed("LRCOMPRESS_DATA")
    command = [*COMPRESS[:3], "factorize", "cifar100.keras", "--dataset", "cifar100", "--json"]
    found = timed(command, folder)
    result = found.pop("result")
    choice = result["layers"][0]["rank_choice"]
    return found | {
        "rank": result["rank"],
        "said": choice["message"],
        "parameters": [result["parameters_before"], result["parameters_after"]],
        "error_rate": [result["error_rate_before"], result["error_rate_after"]],
        "drop": result["drop"],
    }


def text(folder: Path) -> dict[str, Any]:
    """Make an LSTM smaller on data of one's own."""
    networks = needed("LRCOMPRESS_NETWORKS")
    for name in ("books_lstm.keras", "books_authors.npz"):
        shutil.copy(networks / name, folder)
    return told(
        timed([*COMPRESS, "books_lstm.keras", "--dataset", "books_authors.npz", "--json"], folder)
    )


def application(name: str) -> Callable[[Path], dict[str, Any]]:
    """Return the job that makes one of Keras' applications smaller, with random weights and without data."""

    def job(folder: Path) -> dict[str, Any]:
        making = (
            "import keras; keras.utils.set_random_seed(0); "
            f"keras.applications.{name}(weights=None).save('{name.lower()}.h5')"
        )
        subprocess.run([sys.executable, "-c", making], cwd=folder, check=True, capture_output=True)
        return told(timed([*COMPRESS, f"{name.lower()}.h5", "--json"], folder))

    return job


def jax(folder: Path) -> dict[str, Any]:
    """Compress a live model at the end of a training script under JAX."""
    if importlib.util.find_spec("jax") is None:
        msg = "jax is not installed"
        raise Skipped(msg)
    found = timed([sys.executable, "-c", JAX_SCRIPT], folder, KERAS_BACKEND="jax")
    result = found["result"]
    assert list(folder.iterdir()) == []
    return told(found) | {"engine": result["engine"], "predicts": result["predicts"]}


def _saved_as(model: Path, place: Path) -> None:
    code = f"import keras; keras.saving.load_model({str(model)!r}).save({str(place)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


JOBS = {
    "mnist": mnist, "cifar100": cifar100, "text": text, "mobilenet": application("MobileNetV2"),
    "vgg16": application("VGG16"), "jax": jax,
}  # fmt: skip


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--job", "jobs", multiple=True, type=click.Choice(list(JOBS)), help="Default: all.")
def main(output: Path, jobs: tuple[str, ...]) -> None:
    """Do the jobs, each in an empty folder, and write what came of them."""
    document = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {"jobs": {}}
    document |= {"command": COMMAND, "versions": {"lrcompress": lrcompress.__version__}}
    for name in jobs or tuple(JOBS):
        with tempfile.TemporaryDirectory() as folder:
            try:
                document["jobs"][name] = JOBS[name](Path(folder))
            except Skipped as skipped:
                click.echo(f"{name}: skipped, {skipped}", err=True)
                continue
        click.echo(f"{name}: {json.dumps(document['jobs'][name])}", err=True)
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
