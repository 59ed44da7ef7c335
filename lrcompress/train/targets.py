"""What is fitted to what: the student alone or beside its teacher, and the targets for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, count
from lrcompress.live.evaluate import predictions_of
from lrcompress.live.fit import Split
from lrcompress.live.outputs import Head, heads
from lrcompress.live.padding import spread
from lrcompress.live.prepare import Prepared
from lrcompress.measure.scores import kind_of
from lrcompress.train import losses
from lrcompress.train import teacher as distill
from lrcompress.train.settings import FinetuneSettings


@dataclass(frozen=True)
class Aim:
    """What `fit` is given.

    Attributes:
        model: The Keras model to compile and fit.
        targets: For the training inputs, arranged as the model's outputs.
        loss: One an output, arranged so too.
        loss_weights: Of the outputs, in the model's order; None for a single one.
        sample_weight: Of the predictions, (samples, ...), arranged so too; None weighs all alike.
    """

    model: Any
    targets: Any
    loss: Any
    loss_weights: list[float] | None
    sample_weight: Any


def aim_for(
    student: Any,
    teacher: Any | None,
    data: Prepared,
    settings: FinetuneSettings,
) -> Aim:
    """Return what a student is to be fitted to.

    Args:
        student: The factorized Keras model.
        teacher: The original; None leaves labels alone.
        data: The data set.
        settings: Temperature and weight of the teacher.

    Raises:
        DatasetError: If the teacher speaks of other classes.
    """
    ends = heads(student)
    labels = _by_head(data.split.y_train, ends)
    outputs = [output_of(head, y) for head, y in zip(ends, labels, strict=True)]
    targets = [columns(output, y) for output, y in zip(outputs, labels, strict=True)]
    model, loss = _bare(student), [losses.label_loss(output) for output in outputs]
    if teacher is not None:
        distill.check(student, teacher)
        theirs = [output_of(head, y) for head, y in zip(heads(teacher), labels, strict=True)]
        blend = losses.Blend(settings.teacher_weight, settings.temperature)
        loss = [losses.blended_loss(*pair, blend) for pair in zip(outputs, theirs, strict=True)]
        if distill.fits_in_memory(teacher, count(data.split.x_train)):
            taught = distill.remembered(teacher, data.split.x_train, data.scaling)
            targets = [np.concatenate(pair, axis=-1) for pair in zip(targets, taught, strict=True)]
        else:
            model = distill.SideBySide(model, teacher)
    weights = training_weights(data.split)
    # Keras cannot join weights of samples with a mask of their steps.
    each = [] if weights is None else [spread(weights, predictions_of(y)) for y in labels]
    return Aim(
        model=model,
        targets=_as_fed(_as_outputs(student, targets)),
        loss=_as_outputs(student, loss),
        loss_weights=[head.loss_weight for head in ends] if len(ends) > 1 else None,
        sample_weight=_as_fed(_as_outputs(student, each)) if each else None,
    )


def training_weights(split: Split) -> NDArray[np.float32] | None:
    """Return what training multiplies each sample's loss by: its weight, and its class's."""
    weights = split.w_train
    if split.class_weight is None or isinstance(split.y_train, dict):
        return weights
    by_class: NDArray[np.float32] = split.class_weight[split.y_train]
    if weights is None:
        return by_class
    return np.asarray(by_class * spread(weights, by_class.shape))


def output_of(head: Head, labels: NDArray[Any]) -> losses.Output:
    """Return what an output says, with the labels that were fitted to it."""
    units = int(head.shape[-1] or 1)
    kind = {"labels": losses.YES_NO, "regression": losses.NUMBERS}.get(kind_of(labels))
    if kind is None:
        # One unit says how likely class 1 is.
        kind = losses.YES_NO if units == 1 else losses.CLASSES
    return losses.Output(kind, units, head.is_logits)


def columns(output: losses.Output, labels: NDArray[Any]) -> NDArray[np.float32]:
    """Return labels as float32, (samples, ..., columns); exact up to 2^24 classes."""
    wide = labels if kind_of(labels) != "classes" else labels[..., None]
    return np.asarray(wide, np.float32)


def _bare(student: Any) -> Any:
    """Return a model of the same layers that knows nothing of how the student was compiled.

    The targets of fine-tuning are not what metrics of the user's expect, and a training step of a
    class of the user's own would not be fine-tuning.
    """
    graph = getattr(student, "_functional", None) or student
    return keras.Model(graph._inputs_struct, graph._outputs_struct, name=student.name)


def _by_head(y: Arrays, ends: list[Head]) -> list[NDArray[Any]]:
    return [y[head.name] for head in ends] if isinstance(y, dict) else [y]


def _as_outputs(model: Any, flat: list[Any]) -> Any:
    """Return one thing an output in the structure of the model's outputs."""
    # Sequential has no such structure, and a single output.
    structure = getattr(model, "_outputs_struct", None)
    return flat[0] if structure is None else keras.tree.pack_sequence_as(structure, flat)


def _as_fed(targets: Any) -> Any:
    """Return targets as a data set of TensorFlow takes them: a list would be one tensor."""
    return tuple(targets) if isinstance(targets, list) else targets
