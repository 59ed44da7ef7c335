"""A table that several processes fill row by row: one JSON document, and who works on what."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress import __version__
from lrcompress.errors import OutputError
from lrcompress.events import command
from lrcompress.files import locked, write_json
from lrcompress.records.schema import wrong
from lrcompress.records.text import read_json

Row = dict[str, Any]
Key = tuple[Any, ...]
# Holds locks, and the states of rows that are being trained; gone once all are done.
UNFINISHED = ".unfinished"


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
            document = self._read()
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

    def _read(self) -> dict[str, Any]:
        reason: Exception | None = None
        try:
            found: dict[str, Any] = read_json(self.path)
            ours = found["kind"] == self._head["kind"] and isinstance(found["settings"], dict)
            upgrade(found)
            ours = ours and wrong(found["rows"], self._schema) is None
            if ours:
                # What is missing, or cannot tell rows apart, shows here.
                {self.key(row) for row in found["rows"]}
                # Rows of other samples than each other, or of an unknown arm, show here.
                self._complete(copy.deepcopy(found))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            ours, reason = False, error
        if not ours:
            msg = f"{self.path} is not a results file of this command; move it away or give another --output."
            raise OutputError(msg, code="results_unreadable") from reason
        return {**self._head, **found}

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
