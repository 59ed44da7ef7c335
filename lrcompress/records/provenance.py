"""What a file says of the data behind a model, and how far it is believed.

HDF5 models carry it as the root attribute `lrcompress`, `.keras` archives as the key `lrcompress` of `metadata.json`,
run records as `dataset`. A file may come from a stranger: of what it names only known data sets are taken, and data in
its own folder. Code is named by users alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrcompress.errors import DatasetError
from lrcompress.records import parse

KEY = "lrcompress"
# Ours have a thousand letters or two; JSON takes up to thirty times its length.
_MOST_LETTERS = 2**18
# Names Keras can download, and what they are.
NAMED = {
    "digits": "8x8 handwritten digits (UCI), 1,437 + 360 images, bundled",
    "mnist": "28x28 handwritten digits, 60,000 + 10,000 images",
    "fashion_mnist": "28x28 pictures of clothes, 60,000 + 10,000 images",
    "cifar10": "32x32 colour pictures of 10 classes, 50,000 + 10,000 images",
    "cifar100": "32x32 colour pictures of 100 classes, 50,000 + 10,000 images",
}
# What records call data that lived in a program: they cannot be found again.
IN_MEMORY = "in memory"


def name_of(dataset: object) -> str:
    """Return what a data set is called: as the user names it, or `IN_MEMORY` where arrays were given."""
    return str(dataset) if isinstance(dataset, (str, Path)) else IN_MEMORY


def check_named(dataset: object, verb: str) -> None:
    """Refuse data in memory where they must be found again."""
    if dataset is not None and not isinstance(dataset, (str, Path)):
        msg = (
            f"Received data of type {type(dataset).__name__}; {verb} can be resumed and must find "
            "its data again: save them with numpy.savez and give that file."
        )
        raise DatasetError(msg, code="dataset_in_memory")


@dataclass(frozen=True)
class Origin:
    """What a file says of its data, as far as it is believed; what was refused is kept as the file spells it."""

    file: Path = Path()
    # A name of `NAMED`, or a path in the file's folder, as `data_dir` is; never code.
    dataset: str | None = None
    scaling: str | None = None
    data_dir: str | None = None
    refused: dict[str, str] = field(default_factory=dict)
    # What another file may be given: all but code and places elsewhere; whether that is less than was said.
    kept: dict[str, Any] = field(default_factory=dict)
    altered: bool = False

    @property
    def named(self) -> str | None:
        """What it calls its data set, taken or not; for people to read."""
        return self.dataset or self.refused.get("dataset")

    def scaling_of(self, dataset: object) -> str | None:
        """Return the scaling that it records for a data set, None for another one."""
        return self.scaling if self.named == name_of(dataset) else None


@dataclass(frozen=True)
class Chosen:
    """Where the data are from, as the user or a file says; only what a user says may be code."""

    dataset: Any
    scaling: str | None = None
    data_dir: str | None = None


def pack(provenance: dict[str, Any]) -> str:
    """Return the JSON text stored in a model file."""
    return json.dumps(provenance, sort_keys=True, allow_nan=False)


def unpack(value: object, file: Path) -> Origin:
    """Return what a value found in a file says, or its JSON text; a stranger's file may hold anything."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    said: object = None
    try:
        # Also of what was parsed elsewhere: it is to be written again, as JSON that is sound.
        written = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        said = parse(written) if len(written) <= _MOST_LETTERS else None
    except (ValueError, RecursionError):
        pass
    if not isinstance(said, dict):
        return Origin(file, altered=value is not None)
    # A run record calls the data set `name`.
    spelt = {"dataset": "dataset" if "dataset" in said else "name", "data_dir": "data_dir"}
    found = {key: _believed(said.get(name), key, file.parent) for key, name in spelt.items()}
    lost = {
        key: said[n] for key, n in spelt.items() if said.get(n) is not None and found[key] is None
    }
    foreign = {spelt[key] for key, name in lost.items() if not _plain(name)}
    scaling = said.get("scaling")
    return Origin(
        file,
        **found,
        scaling=scaling if isinstance(scaling, str) else None,
        refused={key: str(name)[:200] for key, name in lost.items()},
        kept={key: item for key, item in said.items() if key not in foreign},
        altered=bool(foreign),
    )


def choose(given: object, data_dir: str | Path | None, *origins: Origin) -> Chosen:
    """Return where the data are from: what the user says, else the nearest file that names a data set."""
    own = {"dataset": given, "data_dir": data_dir}
    name = None if given is None else name_of(given)
    for origin in origins:
        if origin.named is None or name not in (None, origin.named):
            continue
        if name is None and origin.named == IN_MEMORY:
            msg = f"{origin.file} names data that were in memory; give them again with dataset=."
            raise DatasetError(msg, code="no_dataset")
        for key, refused in origin.refused.items() if given is None else ():
            if own[key] is None:
                option = f"--{key.replace('_', '-')}"
                msg = (
                    f"{origin.file} names {refused!r} for {option}, which only you may give: it may be code, or "
                    f"lie elsewhere. A file may name {', '.join(NAMED)}, or data that lie in its own folder. "
                    f"If you trust it, pass {option} {refused!r} yourself."
                )
                raise DatasetError(msg, code="not_from_a_file")
        if given is None:
            return Chosen(origin.named, origin.scaling, origin.data_dir)
        # Not sought where a model file says: anybody's data may lie there under the name that is given.
        is_record = origin.file.suffix == ".json"
        return Chosen(given, origin.scaling, origin.data_dir if is_record else None)
    if given is None:
        files = " or ".join(str(origin.file) for origin in origins)
        msg = f"No data set is given{f', and none is named by {files}' if files else ''}; give --dataset."
        raise DatasetError(msg, code="no_dataset")
    return Chosen(given)


def inside(folder: Path, path: str | Path) -> bool:
    """Return whether a path that a file names stays in the file's folder, links followed."""
    try:
        # By its letters first: even to look at another machine's folder can tell it something.
        base, place = (Path(os.path.abspath(one)) for one in (folder, folder / path))  # noqa: PTH100
        if not place.is_relative_to(base):
            return False
        place.exists()  # which fails on a name that no file can have
        return place.resolve().is_relative_to(base.resolve())
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL, a circle of links
        return False


def _plain(name: object) -> bool:
    """Return whether a name is a relative path, which at most leads to data beside the file."""
    if not isinstance(name, str) or ":" in name:
        return False
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _believed(name: object, key: str, folder: Path) -> str | None:
    """Return a name that a file may give, as a name or as a path from here; None for any other."""
    # With a colon it could be taken for module:function.
    if not isinstance(name, str) or not name or ":" in name:
        return None
    if key == "dataset" and name in NAMED:
        return name
    for place in (folder / name, Path(name)):
        if not inside(folder, place.absolute()):
            continue
        if place.is_dir() or (key == "dataset" and place.suffix == ".npz" and place.is_file()):
            return str(place)
    return None
