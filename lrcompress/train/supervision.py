"""What a student is fitted to: labels, its teacher, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import count
from lrcompress.data.dataset import Dataset
from lrcompress.data.labels import Output
from lrcompress.live.evaluate import predictions_of
from lrcompress.live.masks import spread
from lrcompress.live.outputs import outputs_of
from lrcompress.live.prepare import Prepared
from lrcompress.measure import kind_of
from lrcompress.train import losses
from lrcompress.train import teacher as teachers
from lrcompress.train.settings import FinetuneSettings


@dataclass(frozen=True)
class Supervision:
    """What `fit` is given; targets, losses and weights are arranged as the model's outputs."""

    model: Any  # to compile and fit: the student, alone or beside its teacher
    targets: Any
    loss: Any
    loss_weights: list[float] | None
    sample_weight: Any  # of the predictions, (samples, ...); None weighs all alike


def supervise(
    student: Any, teacher: Any | None, data: Prepared, settings: FinetuneSettings
) -> Supervision:
    """Return what a student is to be fitted to; without a teacher the labels alone."""
    ends, y = outputs_of(student), data.split.y_train
    labels = [y[head.name] for head in ends] if isinstance(y, dict) else [y]
    outputs = [_output(head, of) for head, of in zip(ends, labels, strict=True)]
    # float32 is exact up to 2^24 classes.
    targets = [
        np.asarray(of[..., None] if kind_of(of) == "classes" else of, np.float32) for of in labels
    ]
    # Else it runs as when it predicts, so that batch normalization keeps its statistics.
    trains = settings.batch_statistics or settings.dropout
    bare = _bare(student)
    model = bare if trains else teachers.Predicting(bare)
    loss = [losses.label_loss(output) for output in outputs]
    if teacher is not None:
        teachers.check(student, teacher)
        theirs = [_output(head, of) for head, of in zip(outputs_of(teacher), labels, strict=True)]
        loss = [
            losses.blended_loss(own, other, settings.teacher_weight, settings.temperature)
            for own, other in zip(outputs, theirs, strict=True)
        ]
        # What is changed at each step has other outputs each time.
        in_memory = teachers.fits_in_memory(teacher, count(data.split.x_train))
        if in_memory and not settings.augmentation:
            taught = teachers.remembered(teacher, data.split.x_train, data.scaling)
            targets = [np.concatenate(pair, axis=-1) for pair in zip(targets, taught, strict=True)]
        else:
            model = teachers.SideBySide(bare, teacher, trains=trains)
    weights = training_weights(data.split)
    # Keras cannot join weights of samples with a mask of their steps.
    each = [] if weights is None else [spread(weights, predictions_of(of)) for of in labels]
    return Supervision(
        model=model,
        targets=_as_fed(_as_outputs(student, targets)),
        loss=_as_outputs(student, loss),
        loss_weights=[head.loss_weight for head in ends] if len(ends) > 1 else None,
        sample_weight=_as_fed(_as_outputs(student, each)) if each else None,
    )


def training_weights(split: Dataset) -> NDArray[np.float32] | None:
    """Return what training multiplies each sample's loss by: its weight, and its class's."""
    weights = split.w_train
    if split.class_weight is None or isinstance(split.y_train, dict):
        return weights
    by_class: NDArray[np.float32] = split.class_weight[split.y_train]
    if weights is None:
        return by_class
    return np.asarray(by_class * spread(weights, by_class.shape))


def _output(head: Output, labels: NDArray[Any]) -> losses.Output:
    """Return what an output says, with the labels that are fitted to it."""
    units = int(head.shape[-1] or 1)
    # One unit says how likely class 1 is.
    classes = losses.YES_NO if units == 1 else losses.CLASSES
    kinds = {"labels": losses.YES_NO, "regression": losses.NUMBERS}
    return losses.Output(kinds.get(kind_of(labels), classes), units, head.is_logits)


def _bare(student: Any) -> Any:
    """Return a model of the same layers that knows nothing of how the student was compiled."""
    # The targets of fine-tuning are not what metrics of the user's expect, and a training step of a
    # class of the user's own would not be fine-tuning.
    graph = getattr(student, "_functional", None) or student
    return keras.Model(graph._inputs_struct, graph._outputs_struct, name=student.name)


def _as_outputs(model: Any, flat: list[Any]) -> Any:
    """Return one thing an output in the structure of the model's outputs."""
    # Sequential has no such structure, and a single output.
    structure = getattr(model, "_outputs_struct", None)
    return flat[0] if structure is None else keras.tree.pack_sequence_as(structure, flat)


def _as_fed(targets: Any) -> Any:
    """Return targets as a data set of TensorFlow takes them: a list would be one tensor."""
    return tuple(targets) if isinstance(targets, list) else targets
