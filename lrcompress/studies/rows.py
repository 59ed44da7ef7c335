"""A table that several processes fill row by row: one JSON document, and who works on what."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress.errors import OutputError
from lrcompress.files import locked, write_json
from lrcompress.records.schema import wrong
from lrcompress.records.text import read_json

Row = dict[str, Any]
Key = tuple[Any, ...]
# Holds locks, and the states of rows that are being trained; gone once all are done.
UNFINISHED = ".unfinished"


def _nothing(document: dict[str, Any]) -> None:
    """Change nothing."""


class RowFile:
    """A results document in a folder; safe to use from several processes at once.

    Attributes:
        path: The document's file, written when the first row is done.
        folder: Where the rows' models lie.
    """

    def __init__(
        self,
        path: Path,
        head: dict[str, Any],
        fields: tuple[str, ...],
        *,
        upgrade: Callable[[dict[str, Any]], None] = _nothing,
        complete: Callable[[dict[str, Any]], None] = _nothing,
        kind: Any = list[dict[str, Any]],
    ) -> None:
        """Describe the document; nothing is read or written yet.

        Args:
            path: Its file.
            head: What stands before the rows in a new document; `kind` and `settings` must agree
                with what is there.
            fields: The fields that tell one row from another.
            upgrade: Puts a document of an older version in today's terms, in place.
            complete: Orders the rows and adds what follows from them, in place; called before
                every write.
            kind: What the rows are.
        """
        self.path, self.folder = path, path.parent
        self._head, self._fields = head, fields
        self._upgrade, self._complete = upgrade, complete
        self._kind = kind

    def key(self, row: Row) -> Key:
        """Return what tells a row from the others."""
        return tuple(row[field] for field in self._fields)

    def read(self) -> dict[str, Any]:
        """Return the document as it is now, with the rows whose models are still there.

        Raises:
            OutputError: If the file is not such a document, or is one of other settings.
        """
        if not self.path.exists():
            return self._completed({**self._head, "rows": []})
        kind = self._head["kind"]
        try:
            found: dict[str, Any] = read_json(self.path)
            self._upgrade(found)
            document = {**self._head, **found}
            ours = found["kind"] == kind and wrong(found["rows"], self._kind) is None
            before, rows = document["settings"], document["rows"]
            if ours:
                # What is missing, or cannot tell rows apart, shows here.
                {self.key(row) for row in rows}
                # Rows of other samples than each other, or of an unknown arm, show here.
                self._complete(copy.deepcopy(found))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._unreadable() from error
        if not ours or not isinstance(before, dict):
            raise self._unreadable()
        if before != self._head["settings"]:
            msg = (
                f"{self.path} was made with {before}, this run asks for {self._head['settings']}; "
                "give another --output, or move the folder away."
            )
            raise OutputError(msg, code="results_differ")
        # A row whose model was deleted, or lies elsewhere, is worked out again.
        document["rows"] = [
            row for row in rows if row.get("model") is None or self._holds(str(row["model"]))
        ]
        return self._completed(document)

    def _holds(self, name: str) -> bool:
        return Path(name).name == name and (self.folder / name).is_file()

    def _completed(self, document: dict[str, Any]) -> dict[str, Any]:
        self._complete(document)
        return document

    def _unreadable(self) -> OutputError:
        msg = f"{self.path} is not a results file of this command; move it away or give another --output."
        return OutputError(msg, code="results_unreadable")

    def add(self, row: Row) -> None:
        """Put a row in its place among those that are there by now, and write the document.

        Raises:
            OutputError: As `read`, or if the file cannot be written.
        """
        with locked(self.folder / UNFINISHED / f"{self.path.name}.lock", wait=True):
            document = self.read()
            others = [other for other in document["rows"] if self.key(other) != self.key(row)]
            document["rows"] = [*others, row]
            self._complete(document)
            write_json(self.path, document, overwrite=self.path.exists())

    @contextlib.contextmanager
    def claim(self, name: str, *, wait: bool) -> Iterator[bool]:
        """Work on something alone; yields whether that is granted."""
        with locked(self.folder / UNFINISHED / f"{name}.lock", wait=wait) as mine:
            yield mine


@dataclass(frozen=True)
class Job:
    """Work that ends in some rows.

    Attributes:
        name: Of its claim, fit for a file name.
        keys: Of its rows.
        run: From the keys that are missing to the rows, each as it is done.
        needs: Keys of rows that must be there before.
    """

    name: str
    keys: tuple[Key, ...]
    run: Callable[[frozenset[Key]], Iterator[Row]]
    needs: tuple[Key, ...] = ()


def work_through(rows: RowFile, jobs: Sequence[Job]) -> dict[str, Any]:
    """Do the jobs whose rows are missing, side by side with other processes that do the same.

    What another process works on is left to it and waited for at the end; if it dies, it is done
    here.

    Args:
        rows: The document.
        jobs: In an order in which each comes after what it needs.

    Returns:
        The document, with all rows of the jobs.

    Raises:
        OutputError: If the document cannot be read or written.
    """
    open_jobs = list(jobs)
    while True:
        done = _done(rows)
        open_jobs = [job for job in open_jobs if not done.issuperset(job.keys)]
        if not open_jobs:
            return rows.read()
        # In their order, each as soon as what it needs is there.
        if sum(_attempt(rows, job, wait=False) for job in open_jobs) == 0:
            # All that can be done now is being done elsewhere.
            ready = [job for job in open_jobs if _done(rows).issuperset(job.needs)]
            _attempt(rows, ready[0], wait=True)


def _done(rows: RowFile) -> set[Key]:
    return {rows.key(row) for row in rows.read()["rows"]}


def _attempt(rows: RowFile, job: Job, *, wait: bool) -> bool:
    """Do a job if it can be done and nobody else does it; return whether that was so."""
    if not _done(rows).issuperset(job.needs):
        return False
    with rows.claim(job.name, wait=wait) as mine:
        if not mine:
            return False
        # Another process may have done it just before.
        missing = frozenset(job.keys) - _done(rows)
        for row in job.run(missing) if missing else ():
            rows.add(row)
        return True
