"""The arms of a comparison: ways to end with a small network, each measured on the same test data.

| arm | what it is |
|---|---|
| ``full`` | the full-rank network |
| ``full-finetuned`` | the same, given the extra epochs that ``finetuned`` gets |
| ``svd`` | its final layer by truncated SVD, nothing trained |
| ``refined`` | its final layer by the best method on unlabelled training inputs, nothing trained |
| ``finetuned`` | factorized, then a few epochs |
| ``scratch`` | the low-rank network from random weights |
"""

from __future__ import annotations

from typing import Any

from lrcompress.data.arrays import count
from lrcompress.live import engine
from lrcompress.live.evaluate import evaluate
from lrcompress.live.head import SplitHead
from lrcompress.live.prepare import Prepared
from lrcompress.studies.predictions import figures
from lrcompress.train.finetune import finetune
from lrcompress.train.settings import FinetuneSettings

Row = dict[str, Any]


def measured(model: Any, data: Prepared, task: str) -> Row:
    """Return what a row holds of a model that is only measured."""
    x, y = data.test()
    found = evaluate(model, x, y, task, sample_weight=data.split.w_test)
    return {**figures(found), "device": engine.describe_device()}


def finetuned(
    student: Any,
    teacher: Any,
    data: Prepared,
    settings: FinetuneSettings,
    *,
    head: SplitHead | None = None,
) -> Row:
    """Fine-tune a model in place, as `lrcompress finetune` does, and return what a row holds of it.

    Args:
        student: The factorized model, or a copy of the full-rank one.
        teacher: The full-rank model.
        data: The data set, fitted and scaled.
        settings: Epochs and seed.
        head: The factorized layer, None for a full-rank student.

    Raises:
        KeyboardInterrupt: If it was interrupted; only fine-tuning ends well then.
    """
    outcome = finetune(student, teacher, data, settings, head=head)
    if outcome.stopped == "interrupted":
        raise KeyboardInterrupt
    return {
        **figures(outcome.after),
        "epochs": outcome.state.epoch,
        "best_epoch": outcome.state.best_epoch,
        "history": outcome.state.history,
        "seconds": outcome.seconds,
        "images": outcome.state.epoch * count(data.split.x_train),
        "images_per_second": outcome.images_per_second,
        "device": engine.describe_device(),
    }
