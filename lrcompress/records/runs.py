"""The record of a run: what was compressed from what, how, and every measurement so far; see docs/run-record.md.

Paths in it are relative to its own folder, so that it travels with the model; fields it does not know survive.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lrcompress.errors import OutputError, RunRecordError, one_line
from lrcompress.events import command
from lrcompress.files import Pending, alone_in, check_output, names, sha256, together, write_json
from lrcompress.records import read_json
from lrcompress.records.provenance import Origin, name_of, unpack
from lrcompress.records.results import SCHEMA_VERSION

SUFFIX = names.RECORD
# A record is a few kilobytes, with a fine-tuning history perhaps a hundred.
LARGEST = 32 * 2**20


@dataclass(eq=False)
class RunRecord:
    """A JSON document and the file it lives in: change it, then `save`."""

    path: Path
    document: dict[str, Any]

    def save(self, *, overwrite: bool = False, like: Path | None = None) -> None:
        """Write the record atomically, with the time; for no more users than the model (`like`)."""
        self.document["updated"] = now()
        write_json(self.path, self.document, overwrite=overwrite, like=like)

    def resolve(self, path: str) -> Path:
        """Return a file named in the record, as seen from the current directory."""
        return self.path.parent / path

    def relative(self, path: Path) -> str:
        """Return how this record names a file."""
        try:
            return Path(os.path.relpath(path.absolute(), self.path.parent.absolute())).as_posix()
        except ValueError:  # another drive on Windows
            return path.absolute().as_posix()

    @property
    def origin(self) -> Origin:
        """What the record says of the data, as far as it is believed."""
        return unpack(self.document.get("dataset"), self.path)

    @property
    def seed(self) -> int:
        """Of its splits."""
        return int(self.document.get("seed") or 0)

    def is_of(self, dataset: object) -> bool:
        """Return whether the run is of a data set; of its own where None is given."""
        origin = self.origin
        if dataset is None or origin.named is None:
            return origin.named is not None
        return name_of(dataset) in (origin.named, self.document["dataset"]["name"])

    def stage(self, name: str) -> dict[str, Any] | None:
        """Return the stage of that name: original, factorized, finetuned or scratch."""
        stages: list[dict[str, Any]] = self.document["stages"]
        return next((stage for stage in stages if stage["name"] == name), None)

    def stage_of(self, path: Path) -> str | None:
        """Return the name of the last stage whose model is a file, as it is now."""
        for stage in reversed(self.document["stages"]):
            own = stage.get("path")
            is_there = isinstance(own, str) and self.resolve(own).absolute() == path.absolute()
            if is_there and intact(path, stage):
                return str(stage["name"])
        return None

    def set_stage(
        self,
        name: str,
        path: Path,
        parameters: int,
        *,
        digest: str | None = None,
        made: Path | None = None,
        **figures: Any,  # noqa: ANN401
    ) -> None:
        """Add a stage, or update it, by a file where it was `made`; figures of that same file stay."""
        stage = self.stage(name)
        made = made or path
        digest = digest or sha256(made)
        if stage is None or stage.get("sha256") != digest:
            self.document["stages"] = [s for s in self.document["stages"] if s["name"] != name]
            stage = {"name": name, "error_rate": None}
            self.document["stages"].append(stage)
        stage |= {
            "path": self.relative(path),
            "sha256": digest,
            "parameters": parameters,
            "bytes": made.stat().st_size,
            **figures,
        }

    def add_export(self, entry: dict[str, Any]) -> None:
        """Add an exported file, in the place of what was known of one by that path."""
        known = self.document.get("exports") or []
        self.document["exports"] = [e for e in known if e["path"] != entry["path"]] + [entry]


def record_path(model: Path) -> Path:
    """Return where the record of a compressed model lives: ``<stem>.lrcompress.json`` beside it."""
    # Where that is of another model, still there (``a.h5`` beside ``a.keras``), the suffix joins the name.
    path = names.beside(model, SUFFIX)
    try:
        stage = read(path).stage("factorized") or {}
        other = path.parent / str(stage["path"])
        taken = other.is_file() and other.name != model.name
    except (RunRecordError, KeyError):
        taken = False
    return model.with_name(model.name + SUFFIX) if taken else path


def intact(path: Path, stage: dict[str, Any]) -> bool:
    """Return whether a file is the one that a stage speaks of; only one of that many bytes is read."""
    with contextlib.suppress(OSError):
        is_alike = path.is_file() and path.stat().st_size == stage.get("bytes")
        return is_alike and sha256(path) == stage.get("sha256")
    return False


def check_record(output: Path, source: Path, *, overwrite: bool) -> None:
    """Refuse an output whose run record would take the place of the input, or of another record."""
    record = record_path(output)
    # A link by the record's name is replaced itself; what it leads to stays.
    if record.parent.resolve() / record.name == source.resolve():
        msg = (
            f"The run record of {output} would be {record}, which is the input itself; "
            "give another name with --output."
        )
        raise OutputError(msg, code="output_is_input")
    check_output(record, overwrite=overwrite)
    try:
        RunRecord(record, {}).relative(source).encode()
    except UnicodeError as error:
        msg = (
            f"The run record cannot name {source}, which is not UTF-8; give the file another name."
        )
        raise OutputError(msg, code="output_name") from error


@contextlib.contextmanager
def updating(
    record: RunRecord, *also: Path, like: Path | None = None
) -> Iterator[tuple[RunRecord, Pending]]:
    """Yield a record as it is on the disk by now, and save it with other files: no process writes meanwhile."""
    with alone_in(record.path.parent), together(record.path, *also) as pending:
        exists = record.path.exists()
        current = read(record.path) if exists else record
        yield current, pending
        current.save(overwrite=exists, like=like)


def new_record(model: Path, seed: int) -> RunRecord:
    """Return a fresh record for an output model, not yet saved."""
    return RunRecord(
        record_path(model),
        {
            "schema_version": SCHEMA_VERSION,
            "created": now(),
            "updated": now(),
            "command": command(),
            "seed": seed,
            "versions": versions(),
            "warnings": [],
            "layers": [],
            "stages": [],
            "finetune": [],
        },
    )


def read(path: Path) -> RunRecord:
    """Read a record, or refuse what is none of this schema."""
    try:
        if path.stat().st_size > LARGEST:
            msg = f"{path} has {path.stat().st_size} bytes; a run record has at most {LARGEST}."
            raise RunRecordError(msg)
        document = read_json(path)
        # Most commands find no record to read.
        from lrcompress.records.record import Record
        from lrcompress.records.schema import checked

        checked(document, Record)
    except OSError as error:
        msg = f"Cannot read run record {path} ({error.strerror}); expected a file that `lrcompress factorize` wrote."
        raise RunRecordError(msg, code="no_run") from error
    except ValueError as error:
        msg = (
            f"{path} is not a run record of schema {SCHEMA_VERSION} ({one_line(error)}); "
            "run `lrcompress factorize` again, or name another with --run."
        )
        raise RunRecordError(msg) from error
    return RunRecord(path, document)


def newest(folder: Path) -> RunRecord:
    """Return the record of `folder` that was written last."""
    try:
        # The name breaks ties, so that the choice never depends on the directory's order.
        found = sorted(folder.glob(f"*{SUFFIX}"), key=lambda p: (p.stat().st_mtime_ns, p.name))
    except OSError as error:
        msg = f"Cannot list folder {folder} ({error.strerror}); name the record with --run."
        raise RunRecordError(msg, code="no_run") from error
    if not found:
        msg = (
            f"No run record (*{SUFFIX}) in folder {folder.absolute()}; run `lrcompress factorize "
            "MODEL --rank 4` here first, or name a record with --run."
        )
        raise RunRecordError(msg, code="no_run")
    return read(found[-1])


def versions() -> dict[str, str]:
    """Return the versions that decide a factorization, without importing anything."""
    found = {"python": platform.python_version()}
    for name in ("lrcompress", "numpy", "scipy", "h5py"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "unknown"
    return found


def now() -> str:
    """Return the time as records have it: UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")
