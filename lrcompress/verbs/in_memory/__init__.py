"""Models in memory, behind the verbs: each is a file while a verb works, and its run is remembered."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from lrcompress.errors import (
    DatasetError,
    LRCompressError,
    TrainingError,
    UnsupportedModelError,
    one_line,
)
from lrcompress.events import remark, showing
from lrcompress.modelfile import made_of, model_of

P = ParamSpec("P")
R = TypeVar("R")
# Parameters of the verbs that name models.
MODELS = ("model", "models", "against")


def takes_live_models(output: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a verb that takes model files take Keras models too.

    Paths in its result that lay in the meantime's folder are None, and texts call the model by its name. `output`
    is what the verb's output is called while it works, where one is kept only if that is asked for.
    """

    def adapt(verb: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(verb)

        @functools.wraps(verb)
        def adapted(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            given = bound.arguments
            named = [key for key in MODELS if key in given]
            for key in named:
                value = given[key]
                if value is not signature.parameters[key].default:
                    many = key == "models" and isinstance(value, (list, tuple))
                    for one in value if many else [value]:
                        _check(one)
            architecture = given.pop("architecture", None)
            shows = given.pop("progress", False)
            with (
                showing(verb.__name__) if shows else contextlib.nullcontext(),
                StandIns() as models,
            ):
                if architecture is not None:
                    keeps = "overwrite" in signature.parameters
                    overwrite = bool(given.get("overwrite"))
                    given["model"] = models.whole(
                        given["model"], Path(architecture), keep=keeps, overwrite=overwrite
                    )
                for key in named:
                    given[key] = _each(models.file_of, given[key])
                first = next((one for one in models.of if one.model is not None), None)
                if "layer" in given:
                    own = None if first is None else first.model
                    given["layer"] = _each(lambda layer: _path_of(layer, own), given["layer"])
                if not models.of:
                    return verb(*bound.args, **bound.kwargs)
                if first is not None and output is not None and given.get("output") is None:
                    given["output"] = first.folder / output
                if first is not None and given.get("output") is not None:
                    models.enter_context(made_of(first.model, Path(given["output"])))
                try:
                    result = verb(*bound.args, **bound.kwargs)
                    if first is not None:
                        from lrcompress.verbs.in_memory.memory import remember

                        remember(result, first.model, models)
                except LRCompressError as error:
                    error.args = (models.called(str(error)),)
                    raise
                cleaned: R = models.cleaned(result)
                return cleaned

        return adapted

    return adapt


def is_live(model: object) -> bool:
    """Return whether something is a Keras model."""
    return hasattr(model, "save") and hasattr(model, "layers") and hasattr(model, "get_config")


def loaded(path: Path) -> Any | None:  # noqa: ANN401  # a Keras model
    """Return what a verb has made of a model in memory, as one; None where it was given a file."""
    if model_of(path) is None:
        return None
    from lrcompress.live import storing

    return storing.load_model(path)


def check_file(model: object, verb: str) -> None:
    """Refuse what is no path of a model file, for a verb that takes nothing else."""
    if not isinstance(model, (str, Path)):
        msg = (
            f"Received {type(model).__name__}; {verb} expects the path of a model file: save a Keras model with "
            "model.save(...) first."
        )
        raise DatasetError(msg, code="not_a_model")


def _check(model: Any) -> None:  # noqa: ANN401
    if not isinstance(model, (str, Path)) and not is_live(model):
        msg = (
            f"Received {type(model).__name__}; expected the path of a model file, or a Keras model."
        )
        raise DatasetError(msg, code="not_a_model")
    # Keras exports no name for its functional class; a Sequential lists its operations only once built.
    if is_live(model) and not (hasattr(model, "operations") or hasattr(model, "_functional")):
        msg = (
            f"{type(model).__name__} is a subclassed model; expected a Sequential or functional one. Give its layer "
            "to lrcompress.split and put the two that come back in its place."
        )
        raise UnsupportedModelError(msg, code="subclassed")


def _each(change: Callable[[Any], Any], value: Any) -> Any:  # noqa: ANN401
    """Return what is given, changed: one, or each of several."""
    return [change(one) for one in value] if isinstance(value, (list, tuple)) else change(value)


def _path_of(layer: Any, model: Any) -> Any:  # noqa: ANN401
    """Return the path of a layer in a model, its name behind those of the nested models around it; names stay."""
    if isinstance(layer, str) or not hasattr(layer, "name"):
        return layer
    pending = [(inner, "") for inner in getattr(model, "layers", [])]
    while pending:
        found, outer = pending.pop(0)
        if found is layer:
            return f"{outer}{layer.name}"
        pending += [(inner, f"{outer}{found.name}/") for inner in getattr(found, "layers", [])]
    return layer.name


@dataclasses.dataclass(frozen=True)
class _StandIn:
    """A model in memory, the folder that holds its file, and what it goes by.

    No model where the file was joined of the weights in one, by whose name it goes, and an architecture.
    """

    model: Any
    folder: Path
    name: str


class StandIns(contextlib.ExitStack):
    """The models in memory that a verb was given; their files are there until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.of: list[_StandIn] = []
        self.enter_context(_without_retracing())

    def file_of(self, value: Any) -> Any:  # noqa: ANN401
        """Return a path for a Keras model; others as they are."""
        if not is_live(value):
            return value
        from lrcompress.verbs.in_memory.memory import lay_out

        folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="lrcompress-")))
        name = str(getattr(value, "name", "model"))
        number = 1 + sum(getattr(one.model, "name", None) == value.name for one in self.of)
        self.enter_context(made_of(value, folder))
        path = folder / "model.keras"
        save(value, path)
        lay_out(value, path, self)
        self.of.append(_StandIn(value, folder, name if number == 1 else f"{name} ({number})"))
        return path

    def whole(self, weights: object, architecture: Path, *, keep: bool, overwrite: bool) -> Path:
        """Return a whole model file of weights and an architecture: one to keep beside the outputs, or a stand-in."""
        if not isinstance(weights, (str, Path)):
            msg = f"Received {type(weights).__name__} and an architecture; expected the path of a file of weights."
            raise DatasetError(msg, code="not_a_model")
        from lrcompress.modelfile import whole_file

        weights = Path(weights)
        if keep:
            path = whole_file(weights, architecture, overwrite=overwrite)
            remark(f"wrote {path}: weights and architecture in one file")
            return path
        folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="lrcompress-")))
        path = whole_file(weights, architecture, folder)
        self.of.append(_StandIn(None, folder, str(weights)))
        return path

    def holding(self, path: Path) -> _StandIn | None:
        """Return what a file belongs to that will be gone."""
        parents = path.resolve().parents
        return next((one for one in self.of if one.folder.resolve() in parents), None)

    def called(self, text: str) -> str:
        """Return a text in which models in memory go by their names."""
        for found in self.of:
            path = rf"[^\s'\"(]*{re.escape(found.folder.name)}[\\/][^\s'\",;:)]*"
            name = found.name if re.fullmatch(path, text) else repr(found.name)
            text = re.sub(path, name.replace("\\", r"\\"), text)
        return text

    def cleaned(self, value: Any) -> Any:  # noqa: ANN401
        """Return a result without what will not be there."""
        if isinstance(value, Path):
            found = self.holding(value)
            return value if found is None else None if found.model is not None else Path(found.name)
        if isinstance(value, str):
            return self.called(value)
        if isinstance(value, dict):
            return {key: self.cleaned(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.cleaned, value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            kinds = (Path, str, dict, list, tuple)
            changed = {k: self.cleaned(one) for k, one in own.items() if isinstance(one, kinds)}
            return dataclasses.replace(value, **changed)
        return value


@contextlib.contextmanager
def _without_retracing() -> Iterator[None]:
    """Keep TensorFlow from warning that a program traces often: each model here is another one."""

    def wanted(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


def save(model: Any, path: Path) -> None:  # noqa: ANN401
    """Save a model as Keras does, or say why it cannot."""
    from lrcompress.live.storing import save_model

    try:
        save_model(model, path, None)
    except LRCompressError:
        raise
    except Exception as error:  # whatever a layer of the user's own says
        msg = (
            f"Keras cannot save model {model.name!r} ({type(error).__name__}: {one_line(error)}); expected a model "
            "that is built and whose layers have a config."
        )
        raise TrainingError(msg, code="cannot_save") from error
