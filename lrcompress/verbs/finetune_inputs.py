"""What `finetune` begins with: the head of the factorized model, and the original."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import LRCompressError
from lrcompress.lowrank import METHODS
from lrcompress.records import runs

if TYPE_CHECKING:
    from lrcompress.train.part import SplitHead


def split_head(record: runs.RunRecord, path: Path) -> SplitHead | None:
    """Return the head to re-fit: only where its factors are still those that no data have touched."""
    from lrcompress.train.part import SplitHead

    layers, stage = record.document["layers"], record.stage("factorized") or {}
    untouched = runs.intact(path, stage)
    without_data = [name for name, method in METHODS.items() if method.needs == "kernel"]
    if len(layers) != 1 or not untouched or record.document.get("method") not in without_data:
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
    from lrcompress.live import storing

    if not stage or not original.is_file():
        return None, ["The original model is not at hand: fine-tuned on labels alone."]
    if not runs.intact(original, stage):
        return None, [
            f"{original} is no longer the file that was factorized: fine-tuned on labels alone."
        ]
    try:
        return storing.load_model(original), []
    except LRCompressError as error:
        return None, [f"{error} Fine-tuned on labels alone."]
