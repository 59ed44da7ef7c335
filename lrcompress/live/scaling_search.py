"""The scaling of a model that records none: the one with the least loss on training data, if that convinces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, count, shuffled, take
from lrcompress.data.scaling import image_like, is_unit, parse
from lrcompress.errors import DatasetError, NotFiniteError
from lrcompress.live.outputs import outputs_of
from lrcompress.live.predict import predict_all
from lrcompress.measure import SCORERS, kind_of

# An error rate must be this much better than guessing before a scaling is believed.
CHANCE_MARGIN = 0.9
# So must the loss on images be, of that of one constant prediction; a trained network's is far less.
LOSS_MARGIN = 0.4
# One that is up to so much worse may still be the right one of two.
RIVAL_MARGIN = 0.7
# Inputs that are no pixels stay as they are unless another scaling has less than so much of the loss.
CLEARLY = 0.5
# Two are not told apart if their losses differ by fewer standard errors, for good or on less data than
# there are, and matter if the model decides so much of the data otherwise.
STANDARD_ERRORS, FOR_NOW, OTHERWISE = 2.0, 3.0, 0.02
# Share of errors above the least up to which one is tried on more.
EASY = 0.02
# All are tried on a few samples, the best of them on more; on most where those tell no two apart, as
# long as these inputs hold no more numbers.
FEW, KEPT = 200, 4
MORE, MOST, MOST_NUMBERS = 1_000, 10_000, 2**25


@dataclass(frozen=True)
class Tried:
    """What a model does with one scaling."""

    name: str
    loss: NDArray[np.float64]  # of each sample; infinite where the outputs are
    wrong: NDArray[np.float64]  # share of each sample; empty where nothing is right or wrong
    decided: NDArray[np.int64]  # the classes or labels of all outputs, (samples, ...)
    spread: float  # standard deviation of the scaled inputs
    # Percent decided wrongly, or the mean loss where nothing is right or wrong, or several outputs are.
    value: float
    unit: str = ""  # of the value

    @property
    def mean(self) -> float:
        """The mean loss."""
        return float(self.loss.mean())

    @property
    def rate(self) -> float:
        """The share that is wrong; 0 where nothing is."""
        return float(self.wrong.mean()) if self.wrong.size else 0.0


def find(model: Any, x: Arrays, y: Arrays, classes: int | None) -> tuple[str, dict[str, float]]:
    """Return the scaling of raw inputs under which a model has the least loss, and what each was judged by."""
    # Not the first: many data sets are in the order of their classes.
    order = shuffled(x, MOST)
    some, labels = take(x, order[:MORE]), take(y, order[:MORE])
    arrays = list(some.values()) if isinstance(some, dict) else [some]
    judged = next((array for array in arrays if image_like(array)), arrays[0])
    best, scores = _tried(model, candidates(judged), some, labels)
    pixels = is_pixels(judged) and not scales_itself(model)
    constant = constant_loss(labels)
    convincing = RIVAL_MARGIN * constant
    most = order[: MOST_NUMBERS // max(judged[0].size, 1)]
    if pixels and len(most) > MORE and _rival(best, convincing, FOR_NOW):
        some, labels = take(x, most), take(y, most)
        best = _by_loss(try_scaling(model, found.name, some, labels) for found in best)
        scores |= {found.name: found.value for found in best}
    rival = _rival(best, convincing) if pixels else None
    chosen = best[0]
    if not pixels:
        own = next(found for found in best if found.name == "as-is")
        chosen = chosen if chosen.mean < CLEARLY * own.mean else own
    _convince(chosen, scores, constant, classes, pixels=is_pixels(judged))
    scales = is_pixels(judged) and not pixels
    if scales and chosen.wrong.size and _worse(chosen.wrong - best[0].wrong):
        rival = best[0]
    if rival is not None:
        msg = (
            f"Scalings {chosen.name} and {rival.name} suit the original model alike "
            f"({_told(scores, chosen)}); say which is right: --scaling {chosen.name} or --scaling "
            f"{rival.name}."
        )
        raise DatasetError(msg, code="scaling_ambiguous")
    return chosen.name, scores


def _tried(
    model: Any, names: list[str], x: Arrays, y: Arrays
) -> tuple[list[Tried], dict[str, float]]:
    """Return what the best scalings do with some samples, least loss first, and the scores of all."""
    few = slice(0, FEW)
    tried = [try_scaling(model, name, take(x, few), take(y, few)) for name in names]
    scores = {found.name: found.value for found in tried}
    if count(x) > FEW:
        kept = _by_loss(tried)[:KEPT]
        least = min(found.rate for found in tried) if tried[0].wrong.size else -1.0
        tried = [
            try_scaling(model, found.name, x, y) for found in tried
            if found in kept or found.name == "as-is" or found.rate <= least + EASY
        ]  # fmt: skip
        scores |= {found.name: found.value for found in tried}
    return _by_loss(tried), scores


def _by_loss(tried: Iterable[Tried]) -> list[Tried]:
    return sorted(tried, key=lambda found: found.mean)


def candidates(x: NDArray[Any]) -> list[str]:
    """Return the usual scalings, likeliest first; ``/MAX`` where the data do not end at 1 or 255."""
    if not is_pixels(x):
        return ["as-is", "standardized-columns", "standardized"]
    if is_unit(x):
        names = ["as-is", "/0.5-1", "standardized", "per-image"]
    else:
        names = ["/255", "as-is", "/127.5-1", "standardized", "x-128", "per-image"]
    if x.ndim == 2:
        names.remove("per-image")
    if x.ndim > 2 and x.shape[-1] == 3:
        names += ["caffe", "torch", "bgr"]
        names += [] if is_unit(x) else ["bgr/255", "bgr/127.5-1"]
    largest = float(x.max())
    if largest > 0 and largest not in (1.0, 255.0) and largest.is_integer():
        names.insert(1, f"/{int(largest)}")
    return names


def is_pixels(x: NDArray[Any]) -> bool:
    """Return whether inputs are images, or whole numbers as those of images are, in a row."""
    if image_like(x) or x.dtype == np.uint8:
        return True
    some = x[:FEW]
    whole = bool(((some >= 0) & (some == np.round(some))).all())
    return whole and some.size > 0 and bool(some.max() > 1)


def scales_itself(model: Any) -> bool:
    """Return whether a model scales its inputs by a layer or a function of its own."""
    own = (keras.layers.Rescaling, keras.layers.Normalization)
    if any(isinstance(layer, own) for layer in model._flatten_layers()):
        return True
    inputs = {id(tensor) for tensor in model.inputs}
    return any(
        not isinstance(operation, keras.layers.Layer)
        and any(id(t) in inputs for node in operation._inbound_nodes for t in node.input_tensors)
        for operation in getattr(model, "operations", [])
    )


def try_scaling(model: Any, name: str, x: Arrays, y: Arrays) -> Tried:
    """Run a model with one scaling."""
    samples, scaled = count(x), parse(name, x)(x)
    arrays = scaled.values() if isinstance(scaled, dict) else [scaled]
    spread = max(float(array.std()) for array in arrays)
    try:
        found = predict_all(model, scaled)
    except NotFiniteError:  # what a scaling that is wrong may do
        lost = np.full(samples, np.inf)
        return Tried(name, lost, np.ones(samples), np.zeros((samples, 1), np.int64), spread, np.inf)

    def each(values: NDArray[Any]) -> Any:  # (samples,)
        return values.astype(np.float64).reshape(samples, -1).mean(axis=1)

    losses, decided, wrong = np.zeros(samples), [], []
    for output in outputs_of(model):
        labels, values = y[output.name] if isinstance(y, dict) else y, found[output.name]
        kind = kind_of(labels)
        scores = SCORERS[kind](values, labels, output.is_logits)
        losses += output.loss_weight * each(scores["squared" if kind == "regression" else "loss"])
        if kind != "regression":
            parted = values > (0 if output.is_logits else 0.5)
            one_of_many = kind == "classes" and values.shape[-1] > 1
            decisions = values.argmax(axis=-1) if one_of_many else parted
            decided.append(decisions.reshape(samples, -1))
        if "wrong" in scores:
            wrong.append(each(scores["wrong"]))
    is_rate = len(wrong) == 1 and not isinstance(y, dict)
    return Tried(
        name,
        losses,
        np.mean(wrong, axis=0) if wrong else np.zeros(0),
        np.concatenate(decided or [np.zeros((samples, 1))], axis=1).astype(np.int64),
        spread,
        100 * float(wrong[0].mean()) if is_rate else float(losses.mean()),
        " %" if is_rate else "",
    )


def constant_loss(y: Arrays) -> float:
    """Return the loss of the best prediction that is the same for all samples; sum over outputs."""
    if isinstance(y, dict):
        return sum(constant_loss(labels) for labels in y.values())
    if kind_of(y) == "regression":
        return float(np.var(y, axis=0).mean())
    if kind_of(y) == "labels":
        shares = y.reshape(-1, y.shape[-1]).mean(axis=0)
        return float(np.mean([_entropy(np.array([share, 1 - share])) for share in shares]))
    _, counts = np.unique(y, return_counts=True)
    return _entropy(counts / counts.sum())


def _entropy(shares: NDArray[np.float64]) -> float:
    there = shares[shares > 0]
    return float(-(there * np.log(there)).sum())


def _convince(
    chosen: Tried, scores: dict[str, float], constant: float, classes: int | None, *, pixels: bool
) -> None:
    """Refuse a scaling under which the model does no better than what was never trained."""
    chance = 100.0 * (1.0 - 1.0 / (classes or 1))
    if classes is not None and chosen.value > CHANCE_MARGIN * chance:
        msg = (
            f"The original model is near chance ({chance:.1f} %) on this data with every scaling "
            f"tried ({_told(scores, chosen)}); is it the data set it was trained on? Say the right --scaling."
        )
        raise DatasetError(msg, code="scaling_near_chance")
    margin = LOSS_MARGIN if pixels and classes is not None else 1.0
    if (pixels or classes is not None) and chosen.mean > margin * constant > 0:
        msg = (
            f"No scaling tried suits the original model ({_told(scores, chosen)}): with the best, {chosen.name}, its "
            f"loss on training data is {chosen.mean:.3g}, where a constant prediction has {constant:.3g}. "
            f"Say how its inputs were scaled: --scaling {chosen.name} if that is right."
        )
        raise DatasetError(msg, code="scaling_doubtful")


def _rival(best: list[Tried], convincing: float, errors: float = STANDARD_ERRORS) -> Tried | None:
    """Return a scaling that fits like the first, if there is one."""
    # Those of like losses that decide otherwise; and those of like errors, unless the one of least
    # loss has the smaller inputs: larger ones make any network surer, right or not.
    first = best[0]
    for other in best[1:]:
        otherwise = float((other.decided != first.decided).mean())
        alike = otherwise > OTHERWISE and not _worse(other.loss - first.loss, errors)
        surer = first.spread > 0.9 * other.spread
        if first.wrong.size and surer and other.mean < convincing:
            same = bool(np.allclose(other.loss, first.loss, rtol=1e-2, atol=1e-4))
            alike = alike or not (same or _worse(other.wrong - first.wrong, errors))
        if alike:
            return other
    return None


def _worse(apart: NDArray[np.float64], errors: float = STANDARD_ERRORS) -> bool:
    """Return whether differences, (samples,), are above 0 beyond chance."""
    noise = float(apart.std()) / np.sqrt(len(apart))
    return bool(apart.mean() > errors * noise)


def _told(scores: dict[str, float], found: Tried) -> str:
    return ", ".join(f"{name}: {score:.3g}{found.unit}" for name, score in scores.items())
