"""What `finetune` begins with: the record, the factorized model, its head, the original."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import LRCompressError, ModelFileError, RunRecordError
from lrcompress.records import runs
from lrcompress.records.provenance import inside

if TYPE_CHECKING:
    from lrcompress.live.head import SplitHead


def find_record(model: str | Path | None, run: str | Path | None) -> runs.RunRecord:
    """Return the record named, the model's own, the newest here, or a new one for a lone model."""
    if run is not None:
        return runs.read(Path(run))
    if model is None:
        return runs.newest(Path())
    own = runs.record_path(Path(model))
    return runs.read(own) if own.exists() else runs.new_record(Path(model), 0)


def factorized_file(record: runs.RunRecord) -> Path:
    """Return the factorized model that a record names.

    Raises:
        RunRecordError: If it names none, or one outside the record's folder.
        ModelFileError: If that is not there.
    """
    stage = record.stage("factorized")
    if stage is None or not isinstance(stage.get("path"), str):
        msg = f"{record.path} names no factorized model; run `lrcompress factorize` again, or name the model."
        raise RunRecordError(msg)
    path = record.resolve(stage["path"])
    if not inside(record.path.parent, stage["path"]):
        # The output goes beside the model: where that is, no record decides.
        msg = f"{record.path} names {path}, outside its own folder; if you trust it, give that model yourself."
        raise RunRecordError(msg, code="not_from_a_file")
    if not path.is_file():
        msg = (
            f"{record.path} names {path}, which is not there; "
            "name the factorized model, or run `lrcompress factorize` again."
        )
        raise ModelFileError(msg, code="missing")
    return path


def split_head(record: runs.RunRecord, path: Path) -> SplitHead | None:
    """Return the head to re-fit: only where its factors are still those that no data have touched."""
    from lrcompress.live.head import SplitHead

    layers, stage = record.document["layers"], record.stage("factorized") or {}
    untouched = runs.intact(path, stage)
    if (
        len(layers) != 1
        or not untouched
        or record.document.get("method") not in ("svd", "centered")
    ):
        return None
    try:
        layer = layers[0]
        outer = layer["path"].removesuffix(layer["name"])
        return SplitHead(
            layer["path"], outer + layer["first_name"], layer["activation"], layer["softmax"]
        )
    except (KeyError, TypeError, AttributeError):  # a record that someone edited
        return None


def load_teacher(original: Path, stage: dict[str, Any]) -> tuple[Any | None, list[str]]:
    """Return the original Keras model if it is at hand, unchanged and loadable."""
    from lrcompress.live import engine

    if not stage or not original.is_file():
        return None, ["The original model is not at hand: fine-tuned on labels alone."]
    if not runs.intact(original, stage):
        return None, [
            f"{original} is no longer the file that was factorized: fine-tuned on labels alone."
        ]
    try:
        return engine.load_model(original), []
    except LRCompressError as error:
        return None, [f"{error} Fine-tuned on labels alone."]
