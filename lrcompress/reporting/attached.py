"""Documents that a report takes in beside the run record: a sweep, a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrcompress.errors import RunRecordError
from lrcompress.records.arms import ARMS
from lrcompress.records.schema import wrong
from lrcompress.records.tables import Comparison, Sweep
from lrcompress.records.text import read_json

# A sweep of a thousand ranks by four methods has two megabytes, a comparison less.
LARGEST = 64 * 2**20


def read_sweep(path: Path, story: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep that `lrcompress sweep --json` printed, of a layer of this story.

    Raises:
        RunRecordError: If the file is missing, is no sweep, or is one of another layer.
    """
    made = "what `lrcompress sweep MODEL --json` prints"
    document = _read(path, made, Sweep)
    from lrcompress.lowrank import METHODS

    for number, row in enumerate(document["rows"], 1):
        if not {row["method"], row.get("method_used", row["method"])} <= METHODS.keys():
            msg = f"{path} has a method in row {number} that no sweep measures; expected {made}."
            raise RunRecordError(msg, code="not_a_document")
    shapes = {layer.get("path", layer["name"]): layer["kernel_shape"] for layer in story["layers"]}
    if shapes.get(document["layer"]) != document["kernel_shape"]:
        m, n = document["kernel_shape"]
        msg = (
            f"{path} is a sweep of layer {document['layer']!r}, {m} x {n}, which {story['record']} "
            f"did not factorize; expected one of {', '.join(map(repr, shapes)) or 'no layer'}."
        )
        raise RunRecordError(msg, code="other_layer")
    return document


def read_comparison(path: Path, story: dict[str, Any]) -> dict[str, Any]:
    """Return a comparison (`compare.json`) on the data set of this story.

    Raises:
        RunRecordError: If the file is missing, is no comparison, or is on other data.
    """
    made = "a compare.json of `lrcompress compare`"
    document = _read(path, made, Comparison)
    if not {row["arm"] for row in document["summary"]} <= set(ARMS):
        msg = f"{path} has an arm that is none of {', '.join(ARMS)}; expected {made}."
        raise RunRecordError(msg, code="not_a_document")
    ours, theirs = (story["dataset"] or {}).get("name"), document["settings"].get("dataset")
    if ours is not None and ours != theirs:
        msg = (
            f"{path} is a comparison on data set {theirs!r}; {story['record']} was measured on "
            f"{ours!r}: give one on the same data."
        )
        raise RunRecordError(msg, code="other_dataset")
    return document


def _read(path: Path, made: str, kind: type) -> dict[str, Any]:
    """Read a document of a kind."""
    try:
        if path.stat().st_size > LARGEST:
            msg = f"{path} has {path.stat().st_size} bytes; expected {made}, of at most {LARGEST}."
            raise RunRecordError(msg, code="not_a_document")
        document = read_json(path)
    except OSError as error:
        msg = f"Cannot read {path} ({error.strerror}); expected {made}."
        raise RunRecordError(msg, code="no_document") from error
    except ValueError as error:
        msg = f"{path} has text that is not JSON; expected {made}."
        raise RunRecordError(msg, code="not_a_document") from error
    said = wrong(document, kind)
    if said is not None:
        msg = f"{path} has another form ({said}); expected {made}."
        raise RunRecordError(msg, code="not_a_document")
    return dict(document)
