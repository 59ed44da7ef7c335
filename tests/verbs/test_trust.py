"""A file may name known data sets and data in its own folder; code is named by users alone."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import Result

from lrcompress.errors import DatasetError, RunRecordError
from lrcompress.modelfile import open_model
from lrcompress.records import provenance, runs

Run = Callable[..., Result]
# The first is a module in the current directory, which leaves a mark when it is imported.
CODE = (
    "helpers:data",
    "os:abort",
    "code:interact",
    "helpers.sub:data",
    "a b:c",
    "https://example.org/x.npz",
)
ELSEWHERE = ("../data.npz", "/etc", "/dev/zero", "..", "loop", "link.npz", "x" * 5000, "a\0b")


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a mark that appears when code named by a file is run."""
    (tmp_path / "helpers.py").write_text(
        "open('RAN', 'w').close()\ndef data():\n    raise SystemExit(7)\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path / "RAN"
    sys.modules.pop("helpers", None)


def named(source: Path, target: Path, said: Any) -> Path:
    """Write a copy of a model file that says something of its data."""
    if target.suffix == ".h5":
        shutil.copyfile(source, target)
        with h5py.File(target, "r+") as file:
            file.attrs[provenance.KEY] = json.dumps(said)
        return target
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "metadata.json":
                content = json.dumps(json.loads(content) | {provenance.KEY: said}).encode()
            new.writestr(name, content)
    return target


def refused(result: Result, *words: str) -> None:
    """Check that a command ended in one line that holds some words."""
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.safety
@pytest.mark.parametrize("name", [*CODE, *ELSEWHERE, 3, ["digits"], ""], ids=lambda n: str(n)[:12])
def test_what_a_file_may_not_name(name: Any, tmp_path: Path) -> None:
    """Neither code nor places outside the file's own folder are believed, whoever says so."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    np.savez(tmp_path / "data.npz", x=[1])
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "link.npz").symlink_to(tmp_path / "data.npz")
    # A folder by that name could be gone when it is looked for, and its name be imported.
    (folder / "os:abort").mkdir()

    origin = provenance.unpack({"dataset": name, "scaling": "/255"}, folder / "model.keras")

    assert origin.dataset is None
    if name != "":
        with pytest.raises(DatasetError, match="--dataset") as error:
            provenance.choose(None, None, origin)
        assert error.value.code == "not_from_a_file"
        assert "\n" not in str(error.value)
    # The user's own word is taken, with the scaling that goes with it.
    if isinstance(name, str) and 0 < len(name) < 200:
        assert provenance.choose(name, None, origin) == provenance.Chosen(name, "/255")


@pytest.mark.parametrize("name", ["mnist", "data.npz", "images", "./images/../data.npz"])
def test_what_a_file_may_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known data sets, and data that lie in the file's own folder, are taken without a word."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    np.savez(tmp_path / "data.npz", x=[1])

    for file in (Path("model.keras"), tmp_path / "model.keras"):
        origin = provenance.unpack({"dataset": name}, file)
        expected = name if name == "mnist" else str(file.parent / name)
        assert provenance.choose(None, None, origin).dataset == expected


def test_a_folder_that_a_record_names() -> None:
    """Where data are sought first is the user's word too, or a folder of the record's own."""
    said = {"name": "mnist", "scaling": "/255", "data_dir": "/data"}
    origin = provenance.unpack(said, Path("m.lrcompress.json"))

    with pytest.raises(DatasetError, match="pass --data-dir '/data'"):
        provenance.choose(None, None, origin)

    assert provenance.choose(None, "/data", origin) == provenance.Chosen("mnist", "/255")
    assert origin.kept == {"name": "mnist", "scaling": "/255"}


@pytest.mark.safety
def test_a_folder_that_a_model_file_names(tmp_path: Path) -> None:
    """What the user names is sought where the user says, or had it; not among what lies beside a model."""
    (tmp_path / "data").mkdir()
    said = {"dataset": "mnist", "scaling": "/255", "data_dir": "data"}
    files = ("model.keras", "model.lrcompress.json")
    model, record = (provenance.unpack(said, tmp_path / name) for name in files)
    folder = str(tmp_path / "data")

    assert provenance.choose(None, None, model) == provenance.Chosen("mnist", "/255", folder)
    assert provenance.choose("mnist", None, model) == provenance.Chosen("mnist", "/255")
    assert provenance.choose("mnist", None, record) == provenance.Chosen("mnist", "/255", folder)


@pytest.mark.safety
@pytest.mark.keras
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_file_that_names_code(
    run: Run, examples: Path, tmp_path: Path, marked: Path, suffix: str
) -> None:
    """No command imports what a model file names, and none hands the name on."""
    source = examples / f"digits_cnn{suffix}"
    model = named(
        source, tmp_path / f"named{suffix}", {"dataset": "helpers:data", "scaling": "as-is"}
    )

    for command in ("evaluate", "finetune", "compare"):
        extra = ["--ranks", 4] if command == "compare" else []
        refused(run(command, model.name, *extra, "-q"), model.name, "'helpers:data'", "--dataset")
    exported = run("export", model.name, "-o", "x.tflite", "--json", "-q")
    assert run("inspect", model.name).exit_code == 0
    for name, command in {
        "small": ["factorize", model.name, "--rank", 4],
        "modern": ["modernize", model.name],
        "both": ["factorize", model.name, "--rank", 3, "--modernize"],
        "whole": ["merge", f"small{suffix}"],
    }.items():
        assert run(*command, "-o", f"{name}{suffix}").exit_code == 0
        assert "helpers" not in str(open_model(tmp_path / f"{name}{suffix}").origin)
        assert "helpers" not in (tmp_path / f"{name}{suffix}").read_bytes().decode("latin-1")
    assert "helpers" not in (tmp_path / "small.lrcompress.json").read_text()

    if exported.exit_code == 0:
        assert "helpers:data" in json.loads(exported.stdout)["inputs"]["why_random"]
    assert not marked.exists()
    assert "helpers" not in sys.modules


@pytest.mark.safety
def test_a_record_that_names_code(run: Run, examples: Path, tmp_path: Path, marked: Path) -> None:
    """A record's data set is not imported; it is said what to pass, and what is passed is taken."""
    assert (
        run("factorize", examples / "digits_cnn.keras", "--rank", 4, "-o", "s.keras").exit_code == 0
    )
    record = tmp_path / "s.lrcompress.json"
    document = json.loads(record.read_text()) | {
        "dataset": {"name": "helpers:data", "scaling": "as-is"}
    }
    record.write_text(json.dumps(document))

    for command in (["finetune"], ["finetune", "s.keras"], ["finetune", "--run", record]):
        refused(
            run(*command, "--epochs", 1, "-q"), "s.lrcompress.json", "pass --dataset 'helpers:data'"
        )
    assert run("report").exit_code == 0
    assert not marked.exists()

    with pytest.raises(SystemExit, match="7"):
        from lrcompress.data.sources import load

        load("helpers:data")
    assert marked.exists()


@pytest.mark.safety
@pytest.mark.parametrize("lead", ["../outside/s.keras", "{}/outside/s.keras", "away/s.keras"])
def test_a_record_does_not_decide_where_finetune_writes(
    run: Run, examples: Path, tmp_path: Path, lead: str
) -> None:
    """A record that points out of its folder is refused, by letters or through a link."""
    own, outside = tmp_path / "own", tmp_path / "outside"
    own.mkdir()
    outside.mkdir()
    (own / "away").symlink_to(outside)
    small = outside / "s.keras"
    assert run("factorize", examples / "digits_cnn.keras", "--rank", 4, "-o", small).exit_code == 0
    record = runs.read(outside / "s.lrcompress.json")
    record.document["stages"][-1]["path"] = lead.format(tmp_path)
    record.path = own / "s.lrcompress.json"
    record.save()
    before = sorted(outside.iterdir())

    refused(run("finetune", "--run", record.path, "--epochs", 1, "-q"), "outside its own folder")

    assert sorted(outside.iterdir()) == before


def test_rows_of_others_lead_nowhere_else(tmp_path: Path) -> None:
    """A results file cannot have models of other folders loaded, or copied."""
    from lrcompress.studies.rows import PastRun, RowFile, take_row

    (tmp_path / "own").mkdir()
    (tmp_path / "model.keras").touch()
    (tmp_path / "own" / "link.keras").symlink_to(tmp_path / "model.keras")
    for name in ("../model.keras", str(tmp_path / "model.keras"), "link.keras"):
        row = {"arm": "full", "rank": None, "seed": 0, "model": name}
        earlier = PastRun(tmp_path / "own", {"full": 1}, [row], whole=True)
        assert take_row([earlier], {"full": 1}, "full", None, 0) is None
        document = {"kind": "compare", "settings": {}, "rows": [row]}
        (tmp_path / "own" / "compare.json").write_text(json.dumps(document))
        rows = RowFile(tmp_path / "own" / "compare.json", document, ("arm",))
        # Links in the folder itself are how helpers of a distributed run see it.
        assert bool(rows.read()["rows"]) == (name == "link.keras")


def test_records_without_a_model_are_refused(tmp_path: Path) -> None:
    """A path that no file system holds is no way out either."""
    from lrcompress.verbs.context import factorized_file

    for path in ("x" * 5000, "a\0b", "/dev/stdin"):  # none is a file of the folder
        record = runs.RunRecord(
            tmp_path / "r.json", {"stages": [{"name": "factorized", "path": path}]}
        )
        with pytest.raises(RunRecordError):
            factorized_file(record)
