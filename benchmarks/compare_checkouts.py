"""Two checkouts of lrcompress, side by side: the files they write, what they print, how they refuse.

    python benchmarks/compare_checkouts.py BEFORE AFTER MODEL... [--output FILE]

BEFORE and AFTER are folders that hold a package `lrcompress`; each runs in a process of its own
with this interpreter. Every model file (folders are searched) is factorized, swept, modernized and
merged again by the command line. Files must be the same byte by byte, or the same but for the
state of an optimizer, which is told apart; exit codes, messages and JSON documents must be the same
but for versions, times and sizes of what may differ. Writes what differs, and exits 1 if anything does.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import click
import h5py

COMMANDS = {
    "inspect": ["inspect", "MODEL", "--json"],
    "rank 4": ["factorize", "MODEL", "--rank", "4", "--json"],
    "reduction": ["factorize", "MODEL", "--reduction", "0.3", "-o", "reduced", "--json"],
    "layers dense": ["factorize", "MODEL", "--layers", "dense", "--reduction", "0.3", "-o", "dense", "--json"],
    "modernize": ["modernize", "MODEL", "-o", "modern", "--json"],
    "sweep": ["sweep", "MODEL", "--json"],
    "merge": ["merge", "reduced", "-o", "merged", "--json"],
    "report": ["report", "--run", "m-rank4.lrcompress.json", "--format", "markdown"],
}  # fmt: skip
OPTIMIZERS = ("optimizer_weights", "optimizer", "_optimizer")
# What differs between two runs of one checkout, or must between these two.
VARIES = {
    "seconds", "versions", "created", "updated", "time", "sha256", "bytes", "file_bytes",
    "bytes_before", "bytes_after", "optimizer_bytes", "optimizer_bytes_after",
}  # fmt: skip
# A file is rarely larger than it was now that no optimizer state is kept.
LARGER = re.compile(r"The file is [\d.,]+ \w+ larger although parameters are saved")


def of_hdf5(file: h5py.File) -> dict[str, Any]:
    """Return what an HDF5 file holds but for the state of an optimizer."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:  # noqa: ANN401  # a group or a data set
        if name.split("/")[0] in OPTIMIZERS:
            return
        attributes = {key: repr(value) for key, value in sorted(item.attrs.items())}
        value = hashlib.sha256(item[()].tobytes()).hexdigest() if hasattr(item, "dtype") else ""
        found[name] = [attributes, str(getattr(item, "dtype", "")), value]

    visit("", file)
    file.visititems(visit)
    return found


def content(path: Path) -> list[str]:
    """Return three digests of a model file: of its bytes, of all but optimizer state, of its weights."""
    raw = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            parts: dict[str, Any] = {
                name: hashlib.sha256(archive.read(name)).hexdigest()
                for name in archive.namelist()
                if not name.endswith(".h5")
            }
            with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
                weights = parts["weights"] = of_hdf5(file)
    else:
        with h5py.File(path) as file:
            weights = parts = of_hdf5(file)
    texts = [json.dumps(found, sort_keys=True).encode() for found in (parts, weights)]
    return [hashlib.sha256(found).hexdigest() for found in (raw, *texts)]


def without_what_varies(value: object) -> object:
    """Return a JSON document without versions, times and digests, and what is said of the file's size."""
    if isinstance(value, dict):
        return {k: without_what_varies(v) for k, v in value.items() if k not in VARIES}
    if isinstance(value, list):
        return [without_what_varies(entry) for entry in value if not LARGER.match(str(entry))]
    return value


def keys_of(value: object, prefix: str = "") -> set[str]:
    """Return the paths of all keys of a JSON document."""
    if isinstance(value, dict):
        return {f"{prefix}{k}" for k in value} | {
            key for k, v in value.items() for key in keys_of(v, f"{prefix}{k}.")
        }
    if isinstance(value, list):
        return {key for entry in value for key in keys_of(entry, f"{prefix}[].")}
    return set()


def tidy(text: str) -> str:
    """Return printed text without times, dates and versions, and what is said of the file's size."""
    text = re.sub(rf"(?m)^(- )?(Note: )?{LARGER.pattern}.*\n", "", text)
    text = re.sub(r"(?m)^.*optimizer state.*\n", "", text)
    text = re.sub(r"[\d.,]+ (k|M|G)?B( \([^)]* %\))?", "SIZE", text)
    text = re.sub(r"\b\d+(\.\d+)? ?(s|ms|seconds)\b", "TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d\S*)?", "DATE", text)
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "DIGEST", text)
    return re.sub(r"\n\n+", "\n\n", text)


def run_all(models: list[Path]) -> dict[str, Any]:
    """Run every command on every model, in the folder at hand; called in a process of each checkout."""
    from click.testing import CliRunner

    from lrcompress.cli import main

    found: dict[str, Any] = {}
    for number, model in enumerate(models):
        folder = Path(str(number)).resolve()
        folder.mkdir()
        os.chdir(folder)
        name = "m" + (".keras" if zipfile.is_zipfile(model) else model.suffix)
        (folder / name).write_bytes(model.read_bytes())
        rows = found[model.name] = {}
        suffix = Path(name).suffix
        for called, words in COMMANDS.items():
            files = {"MODEL": name}
            made = {word: word + suffix for word in ("reduced", "dense", "modern", "merged")}
            if called == "modernize":
                made["modern"] = "modern.h5" if suffix != ".keras" else "modern.keras"
            done = CliRunner().invoke(main, [(files | made).get(word, word) for word in words])
            crash = done.exception and not isinstance(done.exception, SystemExit)
            rows[called] = {
                "exit": done.exit_code,
                "crash": repr(done.exception) if crash else None,
                "stderr": tidy(done.stderr),
            }
            try:
                document = json.loads(done.stdout)
                rows[called]["document"] = without_what_varies(document)
                rows[called]["keys"] = sorted(keys_of(document))
            except ValueError:
                rows[called]["stdout"] = tidy(done.stdout)
        for path in sorted(folder.iterdir()):
            if path.name != name:
                if path.suffix in (".keras", ".h5", ".hdf5"):
                    rows[f"file {path.name}"] = content(path)
                elif path.suffix == ".json":
                    document = json.loads(path.read_text(encoding="utf-8"))
                    rows[f"file {path.name}"] = without_what_varies(document)
                path.unlink()
        (folder / name).unlink(missing_ok=True)
        os.chdir(folder.parent)
    return found


def work(checkout: Path, models: list[Path], folder: Path) -> dict[str, Any]:
    """Run one checkout in a process and a folder of its own."""
    folder.mkdir()
    environment = os.environ | {
        "PYTHONPATH": str(checkout.resolve()), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "100",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--worker", *map(str, models)],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return what is the same, and what differs in what way."""
    same = {
        "bytes": 0, "but for an optimizer": 0, "weights of what Keras saved": 0, "command": 0,
        "document": 0,
    }  # fmt: skip
    differs: dict[str, Any] = {}
    for model, rows in before.items():
        for what in sorted(rows.keys() | after[model].keys()):
            one, two = rows.get(what), after[model].get(what)
            if what.endswith((".keras", ".h5", ".hdf5")) and one and two:
                if one[0] == two[0]:
                    same["bytes"] += 1
                    continue
                if one[1] == two[1]:
                    same["but for an optimizer"] += 1
                    continue
                # What Keras saves in another format has the date of it, and names made up anew.
                if one[2] == two[2] and what.endswith(".keras"):
                    same["weights of what Keras saved"] += 1
                    continue
            elif one == two:
                same["document" if what.startswith("file ") else "command"] += 1
                continue
            differs[f"{model}: {what}"] = difference(one, two)
    return {"files": len(before), "same": same, "differs": differs}


def difference(one: object, two: object) -> object:
    """Return the parts of two documents that are not the same, as [before, after]."""
    if isinstance(one, dict) and isinstance(two, dict):
        return {
            key: difference(one.get(key), two.get(key))
            for key in sorted(one.keys() | two.keys())
            if one.get(key) != two.get(key)
        }
    return [one, two]


@click.command(help=__doc__)
@click.option("--worker", is_flag=True, hidden=True)
@click.option("--output", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
def main(paths: tuple[Path, ...], output: Path | None, worker: bool) -> None:
    """Compare two checkouts on model files."""
    if worker:
        print(json.dumps(run_all([path.resolve() for path in paths])))
        return
    before, after, *models = paths
    found = [
        path.resolve()
        for place in models
        for path in (sorted(place.rglob("*")) if place.is_dir() else [place])
        if path.suffix in (".h5", ".hdf5", ".keras") and path.is_file()
    ]
    with tempfile.TemporaryDirectory() as folder:
        result = compare(
            work(before, found, Path(folder) / "before"), work(after, found, Path(folder) / "after")
        )
    text = json.dumps(result, indent=2)
    if output:
        output.write_text(text + "\n", encoding="utf-8")
    print(text if not output else json.dumps(result["same"]), len(result["differs"]), "differences")
    sys.exit(bool(result["differs"]))


if __name__ == "__main__":
    main()
