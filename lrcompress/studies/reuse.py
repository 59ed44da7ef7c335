"""Rows that earlier runs left: taken over by a comparison instead of being trained again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress.errors import OutputError
from lrcompress.files import replacing, sha256
from lrcompress.records.provenance import inside
from lrcompress.records.schema import Results, wrong
from lrcompress.records.text import read_json
from lrcompress.studies.rows import Row, upgrade

# Names of results documents, and the settings in them that must agree.
DOCUMENTS = ("results.json", "compare.json")
_SAME = ("dataset", "network", "scaling", "batch_size")
Epochs = dict[str, int | None]


@dataclass(frozen=True)
class PastRun:
    """One results document of an earlier run, beside its models."""

    folder: Path
    epochs: Epochs  # of the arms full and scratch
    rows: list[Row]  # each with its arm, rank and seed
    whole: bool  # whether all of its arms were made as they would be here


def find_past_runs(
    folders: Sequence[Path], settings: dict[str, Any], epochs: Epochs
) -> list[PastRun]:
    """Return the documents in some folders whose rows may stand in a comparison of these settings."""
    found = []
    for folder in folders:
        paths = [folder / name for name in DOCUMENTS if (folder / name).is_file()]
        documents = [_read(path) for path in paths]
        if not documents:
            msg = f"Folder {folder} holds no {' or '.join(DOCUMENTS)}; expected one of train-from-scratch or compare."
            raise OutputError(msg, code="results_unreadable")
        fitting = [d for d in documents if _fits(d["settings"], settings, _epochs(d), epochs)]
        if not fitting:
            msg = (
                f"{paths[0]} was made with {documents[0]['settings']}, this run asks for {settings}; "
                "leave that folder out, or ask for the same epochs and batch size."
            )
            raise OutputError(msg, code="results_differ")
        found += [PastRun(folder, _epochs(d), _rows(d), d["settings"] == settings) for d in fitting]
    return found


def _read(path: Path) -> dict[str, Any]:
    reason: Exception | None = None
    try:
        document: dict[str, Any] = read_json(path)
        upgrade(document)
        needed = {"rank", "seed", "model"} | ({"arm"} if document["kind"] == "compare" else set())
        known = document["kind"] in ("scratch", "compare") and wrong(document, Results) is None
        known = known and all(needed <= row.keys() for row in document["rows"])
        if known:
            _epochs(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        known, reason = False, error
    if not known:
        msg = (
            f"{path} is not a results file of train-from-scratch or compare; leave its folder out."
        )
        raise OutputError(msg, code="results_unreadable") from reason
    return document


def _epochs(document: dict[str, Any]) -> Epochs:
    settings = document["settings"]
    if document["kind"] == "scratch":
        return dict.fromkeys(("full", "scratch"), settings["epochs"])
    return {arm: settings.get(f"{arm}_epochs") for arm in ("full", "scratch")}


def _rows(document: dict[str, Any]) -> list[Row]:
    if document["kind"] == "compare":
        return list(document["rows"])
    # A full-rank row of `train-from-scratch` is both: the network to be compressed, and, where
    # epochs agree, what as many epochs give at full rank.
    return [
        {**row, "arm": arm}
        for row in document["rows"]
        for arm in ("full", "scratch")
        if row["rank"] is None or arm == "scratch"
    ]


def _fits(theirs: dict[str, Any], ours: dict[str, Any], had: Epochs, wanted: Epochs) -> bool:
    """Return whether results agree in what must, and in the epochs of one arm at least."""
    same = all(theirs.get(key) == ours.get(key) for key in _SAME)
    return same and any(count is not None and had[arm] == count for arm, count in wanted.items())


def take_row(
    past: Sequence[PastRun], epochs: Epochs, arm: str, rank: int | None, seed: int | None
) -> tuple[Row, Path | None] | None:
    """Return an earlier row of an arm and its model, if it kept one that is still there; or None."""
    for run in past:
        if not run.whole and (epochs.get(arm) is None or epochs[arm] != run.epochs.get(arm)):
            continue
        for row in run.rows:
            if (row["arm"], row["rank"], row["seed"]) != (arm, rank, seed):
                continue
            path = None if row["model"] is None else run.folder / str(row["model"])
            if path is None or (inside(run.folder, path.absolute()) and path.is_file()):
                return row, path
    return None


def copy_model(source: Path, target: Path) -> None:
    """Copy a model file whole or not at all; nothing is done where it lies in its place already.

    Nor where a run that was killed before it kept the row has copied it.
    """
    if target.is_file() and (target.samefile(source) or sha256(target) == sha256(source)):
        return
    with replacing(target, like=source) as temporary:
        shutil.copyfile(source, temporary)
