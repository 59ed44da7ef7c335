"""Models in memory: each verb gets one as a file that is there while it works."""

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
from lrcompress.modelfile import made_of, model_of
from lrcompress.verbs.remembered import is_live, lay_out, remember

P = ParamSpec("P")
R = TypeVar("R")
# Parameters of the verbs that name models.
MODELS = ("model", "models", "against")


@dataclasses.dataclass(frozen=True)
class _StandIn:
    """A model in memory, and the folder that holds its file."""

    model: Any
    folder: Path
    name: str

    @property
    def path(self) -> Path:
        return self.folder / "model.keras"


def loaded(path: Path) -> Any | None:  # noqa: ANN401  # a Keras model
    """Return what a verb has made of a model in memory, as one; None where it was given a file."""
    if model_of(path) is None:
        return None
    from lrcompress.live import engine

    return engine.load_model(path)


def takes_live_models(
    output: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a verb that takes model files take Keras models too.

    Paths in its result that lay in the meantime's folder are None, and texts call the model by its name.

    Args:
        output: What the verb's output is called while it works, where it keeps one only if that is
            asked for; None for a verb that has none, or writes where it is told.
    """

    def adapt(verb: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(verb)

        @functools.wraps(verb)
        def adapted(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            given = bound.arguments
            for key in MODELS:
                if key in given and given[key] is not signature.parameters[key].default:
                    _check(given[key], several=key == "models")
            with contextlib.ExitStack() as stack:
                stack.enter_context(_without_retracing())
                stand_ins: list[_StandIn] = []
                for key in MODELS:
                    value: Any = given.get(key)
                    many = isinstance(value, (list, tuple))
                    found = [
                        _stand_in(one, stack, stand_ins) for one in (value if many else [value])
                    ]
                    if key in given:
                        given[key] = found if many else found[0]
                if not stand_ins:
                    _name_layers(given, None)
                    return verb(*bound.args, **bound.kwargs)
                _name_layers(given, stand_ins[0].model)
                if output is not None and given.get("output") is None:
                    given["output"] = stand_ins[0].folder / output
                if given.get("output") is not None:
                    stack.enter_context(made_of(stand_ins[0].model, Path(given["output"])))
                try:
                    result = verb(*bound.args, **bound.kwargs)
                    remember(
                        result, stand_ins[0].model, lambda path: _is_gone(path, stand_ins),
                        lambda document: _cleaned(document, stand_ins),
                    )  # fmt: skip
                except LRCompressError as error:
                    error.args = (_called(str(error), stand_ins),)
                    raise
                cleaned: R = _cleaned(result, stand_ins)
                return cleaned

        return adapted

    return adapt


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


def check_file(model: object, verb: str) -> None:
    """Refuse what is no path of a model file, for a verb that takes nothing else.

    Raises:
        DatasetError: With code ``not_a_model``.
    """
    if not isinstance(model, (str, Path)):
        msg = (
            f"Received {type(model).__name__}; {verb} expects the path of a model file: save a Keras model with "
            "model.save(...) first."
        )
        raise DatasetError(msg, code="not_a_model")


def _check(value: Any, *, several: bool) -> None:  # noqa: ANN401
    for one in value if several and isinstance(value, (list, tuple)) else [value]:
        if not isinstance(one, (str, Path)) and not is_live(one):
            msg = f"Received {type(one).__name__}; expected the path of a model file, or a Keras model."
            raise DatasetError(msg, code="not_a_model")
        # Keras exports no name for its functional class; a Sequential lists its operations only once built.
        if is_live(one) and not (hasattr(one, "operations") or hasattr(one, "_functional")):
            msg = (
                f"{type(one).__name__} is a subclassed model; expected a Sequential or functional one. Give its layer "
                "to lrcompress.split and put the two that come back in its place."
            )
            raise UnsupportedModelError(msg, code="subclassed")


def _stand_in(value: Any, stack: contextlib.ExitStack, stand_ins: list[_StandIn]) -> Any:  # noqa: ANN401
    """Return a path for a Keras model, whose file is there until the stack is closed; others as they are."""
    if not is_live(value):
        return value
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lrcompress-")))
    name = str(getattr(value, "name", "model"))
    number = 1 + sum(one.model.name == value.name for one in stand_ins)
    found = _StandIn(value, folder, name if number == 1 else f"{name} ({number})")
    stack.enter_context(made_of(value, folder))
    _save(value, found.path)
    lay_out(value, found.path, stack, _save)
    stand_ins.append(found)
    return found.path


def _name_layers(given: dict[str, Any], model: Any) -> None:  # noqa: ANN401
    """Put names in the place of layers."""
    layers = given.get("layer")
    if layers is None or isinstance(layers, str):
        return
    many = isinstance(layers, (list, tuple))
    names = [_path_of(one, model) for one in (layers if many else [layers])]
    given["layer"] = names if many else names[0]


def _path_of(layer: Any, model: Any) -> Any:  # noqa: ANN401
    """Return the path of a layer in a model: its name behind those of the nested models it stands in."""
    if isinstance(layer, str) or not hasattr(layer, "name"):
        return layer
    pending = [(inner, "") for inner in getattr(model, "layers", [])]
    while pending:
        found, outer = pending.pop(0)
        if found is layer:
            return f"{outer}{layer.name}"
        pending += [(inner, f"{outer}{found.name}/") for inner in getattr(found, "layers", [])]
    return layer.name


def _is_gone(path: Path, stand_ins: list[_StandIn]) -> bool:
    return any(found.folder.resolve() in path.resolve().parents for found in stand_ins)


def _called(text: str, stand_ins: list[_StandIn]) -> str:
    """Return a text in which models in memory go by their names."""
    for found in stand_ins:
        path = rf"[^\s'\"(]*{re.escape(found.folder.name)}[\\/][^\s'\",;:)]*"
        name = found.name if re.fullmatch(path, text) else repr(found.name)
        text = re.sub(path, name.replace("\\", r"\\"), text)
    return text


def _cleaned(value: Any, stand_ins: list[_StandIn]) -> Any:  # noqa: ANN401
    """Return a result without what will not be there."""
    if isinstance(value, Path):
        return None if _is_gone(value, stand_ins) else value
    if isinstance(value, str):
        return _called(value, stand_ins)
    if isinstance(value, dict):
        return {key: _cleaned(one, stand_ins) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_cleaned(one, stand_ins) for one in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kinds = (Path, str, dict, list, tuple)
        own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(
            value,
            **{k: _cleaned(one, stand_ins) for k, one in own.items() if isinstance(one, kinds)},
        )
    return value


def _save(model: Any, path: Path) -> None:  # noqa: ANN401
    from lrcompress.live.storing import save_model

    try:
        save_model(model, path, None)
    except LRCompressError:
        raise
    except Exception as error:  # whatever a layer of the user's own says
        reason = one_line(error)
        msg = (
            f"Keras cannot save model {model.name!r} ({type(error).__name__}: {reason}); expected a model that "
            "is built and whose layers have a config."
        )
        raise TrainingError(msg, code="cannot_save") from error
