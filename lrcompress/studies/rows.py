"""A table that several processes fill row by row, and rows of earlier runs that are taken over: JSON documents."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress import __version__
from lrcompress.errors import OutputError
from lrcompress.events import command
from lrcompress.files import locked, replacing, sha256, write_json
from lrcompress.records import read_json
from lrcompress.records.provenance import inside
from lrcompress.records.schema import Results, wrong

Row = dict[str, Any]
Key = tuple[Any, ...]
# Holds locks, and the states of rows that are being trained; gone once all are done.
UNFINISHED = ".unfinished"
# Names of results documents, and the settings in them that must agree.
DOCUMENTS = ("results.json", "compare.json")
_SAME = ("dataset", "network", "scaling", "batch_size")
Epochs = dict[str, int | None]


def new_document(kind: str, version: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what stands before the rows of a new document."""
    from lrcompress.live import engine

    return {
        "schema_version": version,
        "kind": kind,
        "settings": settings,
        "command": command(),
        "device": engine.describe_device(),
        "versions": engine.versions() | {"lrcompress": __version__},
    }


def upgrade(document: dict[str, Any]) -> None:
    """Put rows of schema 1 of `train-from-scratch`, one seed among its settings, in today's terms."""
    if document["kind"] == "scratch" and document["schema_version"] == 1:
        seed = document["settings"].pop("seed")
        for row in document["rows"]:
            row.setdefault("seed", seed)
            row.setdefault("device", document.get("device"))
        document["schema_version"] = 2


class RowFile:
    """A results document beside its models, written with its first row; several processes may use it."""

    def __init__(
        self,
        path: Path,
        head: dict[str, Any],
        fields: tuple[str, ...],
        *,
        complete: Callable[[dict[str, Any]], None] = lambda document: None,
        schema: Any = list[Row],
    ) -> None:
        """Describe the document, whose kind and settings `head` holds; nothing is read or written yet."""
        # `fields` tell one row from another; `complete` orders the rows and adds what follows from them, in place.
        self.path, self.folder = path, path.parent
        self._head, self._fields = head, fields
        self._complete, self._schema = complete, schema

    def key(self, row: Row) -> Key:
        """Return what tells a row from the others."""
        return tuple(row[field] for field in self._fields)

    def keys(self) -> set[Key]:
        """Return which rows are there now."""
        return {self.key(row) for row in self.read()["rows"]}

    def read(self) -> dict[str, Any]:
        """Return the document as it is now, with the rows whose models are still there."""
        document = {**self._head, "rows": []}
        if self.path.exists():
            hint = "is not a results file of this command; move it away or give another --output."
            document = {**self._head, **_read(self.path, self._is_ours, hint)}
            settings = self._head["settings"]
            if document["settings"] != settings:
                msg = (
                    f"{self.path} was made with {document['settings']}, this run asks for {settings}; "
                    "give another --output, or move the folder away."
                )
                raise OutputError(msg, code="results_differ")
            # A row whose model was deleted, or lies elsewhere, is worked out again.
            document["rows"] = [row for row in document["rows"] if self._holds(row.get("model"))]
        self._complete(document)
        return document

    def _is_ours(self, found: dict[str, Any]) -> bool:
        ours = found["kind"] == self._head["kind"] and isinstance(found["settings"], dict)
        if not ours or wrong(found["rows"], self._schema) is not None:
            return False
        # What is missing, or cannot tell rows apart, shows here.
        {self.key(row) for row in found["rows"]}
        # Rows of other samples than each other, or of an unknown arm, show here.
        self._complete(copy.deepcopy(found))
        return True

    def _holds(self, model: str | None) -> bool:
        return model is None or (Path(model).name == model and (self.folder / model).is_file())

    def add(self, row: Row) -> None:
        """Put a row in its place among those that are there by now, and write the document."""
        with self.claim(self.path.name, wait=True):
            document = self.read()
            others = [other for other in document["rows"] if self.key(other) != self.key(row)]
            document["rows"] = [*others, row]
            self._complete(document)
            write_json(self.path, document, overwrite=self.path.exists())

    def claim(self, name: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Work on something alone; yields whether that is granted."""
        return locked(self.folder / UNFINISHED / f"{name}.lock", wait=wait)


@dataclass(frozen=True)
class Job:
    """Work that ends in some rows."""

    name: str  # of its claim, fit for a file name
    keys: tuple[Key, ...]
    run: Callable[[frozenset[Key]], Iterator[Row]]  # from the keys that are missing
    needs: tuple[Key, ...] = ()  # rows that must be there before


def work_through(rows: RowFile, jobs: Sequence[Job]) -> dict[str, Any]:
    """Do the jobs whose rows are missing, side by side with other processes that do the same."""
    try:
        rows.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"Cannot create folder {rows.folder} ({error.strerror}); give another --output."
        raise OutputError(msg, code="output_folder") from error
    open_jobs = list(jobs)
    while True:
        done = rows.keys()
        open_jobs = [job for job in open_jobs if not done.issuperset(job.keys)]
        if not open_jobs:
            return rows.read()
        # In their order, each as soon as what it needs is there.
        if sum(_attempt(rows, job, wait=False) for job in open_jobs) == 0:
            # All that can be done now is being done elsewhere, and is done here if that dies.
            ready = [job for job in open_jobs if rows.keys().issuperset(job.needs)]
            _attempt(rows, ready[0], wait=True)


def _attempt(rows: RowFile, job: Job, *, wait: bool) -> bool:
    """Do a job if it can be done and nobody else does it; return whether that was so."""
    if not rows.keys().issuperset(job.needs):
        return False
    with rows.claim(job.name, wait=wait) as mine:
        if not mine:
            return False
        # Another process may have done it just before.
        missing = frozenset(job.keys) - rows.keys()
        for row in job.run(missing) if missing else ():
            rows.add(row)
        return True


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
        hint = "is not a results file of train-from-scratch or compare; leave its folder out."
        documents = [_read(path, _tells_epochs, hint) for path in paths]
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


def _read(path: Path, fits: Callable[[dict[str, Any]], bool], hint: str) -> dict[str, Any]:
    """Return a results document, refused with a hint where it does not fit or is damaged."""
    reason: Exception | None = None
    try:
        found: dict[str, Any] = read_json(path)
        upgrade(found)
        known = fits(found)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        known, reason = False, error
    if not known:
        msg = f"{path} {hint}"
        raise OutputError(msg, code="results_unreadable") from reason
    return found


def _tells_epochs(document: dict[str, Any]) -> bool:
    needed = {"rank", "seed", "model"} | ({"arm"} if document["kind"] == "compare" else set())
    known = document["kind"] in ("scratch", "compare") and wrong(document, Results) is None
    return (
        known and all(needed <= row.keys() for row in document["rows"]) and bool(_epochs(document))
    )


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
    """Copy a model file whole or not at all."""
    # It lies in its place already, or a run that was killed before it kept the row has copied it.
    if target.is_file() and (target.samefile(source) or sha256(target) == sha256(source)):
        return
    with replacing(target, like=source) as temporary:
        shutil.copyfile(source, temporary)
