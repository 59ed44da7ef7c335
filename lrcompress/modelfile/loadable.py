"""What may go to Keras: no file that holds code, or leads Keras to code.

Keras makes objects of every JSON object that has a `class_name`: layers, losses, functions, byte
code. Names are looked up among what the caller has registered, then in Keras' own packages. Only
what Keras is given must pass; files are edited without.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lrcompress.errors import TrainingError, printable
from lrcompress.kinds.terms import as_dict
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.read import open_model
from lrcompress.modelfile.untrusted import SUFFIXES

# Packages of Keras from which models are made, and those of them that have functions for models.
_FUNCTIONS = frozenset({
    "activations", "constraints", "initializers", "layers", "losses", "metrics", "ops", "random",
    "regularizers",
})  # fmt: skip
_CLASSES = _FUNCTIONS | {
    "", "distillation", "dtype_policies", "engine", "mixed_precision", "models", "optimizers", "quantizers", "trainers",
}  # fmt: skip
# Functions in these packages that make objects of any text.
_MAKERS = ("deserialize", "get", "serialize")
# Classes that read programs or objects of another library.
_LOADERS = ("CompositeTensor", "TFSMLayer", "TorchModuleWrapper", "TypeSpec", "__typespec__")
_LOOKUPS = ("IndexLookup", "IntegerLookup", "StringLookup", "TextVectorization")
# Where the settings of `compile` stand: names of functions there are no part of the architecture.
_COMPILED = "compile_config"
# Packages of layers that Keras imports by itself.
_IMPORTED = ("keras_cv", "keras_hub", "keras_nlp")
_Node = dict[str, Any]

# Files that this process made of models in its memory: they hold the caller's own code.
_made: ContextVar[tuple[tuple[Path, Any], ...]] = ContextVar("made", default=())


@contextlib.contextmanager
def made_of(model: Any, *places: Path) -> Iterator[None]:  # noqa: ANN401  # a Keras model, which this room cannot name
    """Take files for copies of a model in memory, or what was made of them, for a time; None takes none."""
    added = () if model is None else tuple((place.absolute(), model) for place in places)
    token = _made.set((*added, *_made.get()))
    try:
        yield
    finally:
        _made.reset(token)


def model_of(path: Path) -> Any | None:  # noqa: ANN401
    """Return the model in memory that a file was made of; None for a file like any other."""
    path = path.absolute()
    return next((model for place, model in _made.get() if place in (path, *path.parents)), None)


def open_for_keras(path: Path) -> ModelFile:
    """Read the structure of a model file that Keras is to load."""
    model = open_model(path)
    check_loadable(model)
    return model


def check_loadable(model: ModelFile) -> None:
    """Refuse a file that Keras must not see, by its suffix, the code in it, or code that nobody registered."""
    path = model.path
    if model_of(path) is not None:  # its code is the caller's own
        return
    if path.suffix not in SUFFIXES[model.format]:
        kind = "HDF5" if model.format == "hdf5" else "a .keras archive"
        wanted = " or ".join(SUFFIXES[model.format])
        msg = f"{path} is {kind}, and Keras goes by the suffix; expected {wanted}: rename it."
        raise TrainingError(msg, code="keras_cannot_load")
    for node, compiled in _objects(model):
        held = _code_in(node)
        if held is not None:
            msg = (
                f"{path} holds {printable(held)[:200]}; Keras is not given files that hold code: save the "
                "model without, or load it yourself where you trust it. factorize without data, inspect, "
                "merge and modernize work on it, and run nothing."
            )
            raise TrainingError(msg, code="holds_code")
        module = _foreign_module(node)
        if module is not None and not (compiled and _is_only_named(module)):
            name, module = printable(_name(node))[:80], printable(module)[:80]
            msg = (
                f"{path} names {name!r} of the Python module {module!r}, which is not part of Keras and "
                "is not imported for a file; register it (keras.saving."
                "register_keras_serializable) and call lrcompress from Python. factorize without data, "
                "inspect, merge and modernize need no code of the model."
            )
            raise TrainingError(msg, code="keras_cannot_load")


def _objects(model: ModelFile) -> Iterator[tuple[_Node, bool]]:
    """Yield every serialized object, and whether it stands among the settings of `compile`."""
    stack: list[tuple[object, bool]] = [(model.compile_config, True), (model.config, False)]
    while stack:
        value, compiled = stack.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value, compiled
            stack += [(item, compiled or key == _COMPILED) for key, item in value.items()]
        elif isinstance(value, list):
            stack += [(item, compiled) for item in value]


def _name(node: _Node) -> str:
    """Return what an object is called: a function by the name that stands in its config."""
    name = node["class_name"]
    if name == "function":
        name = node.get("config")
    return name if isinstance(name, str) else "?"


def _code_in(node: _Node) -> str | None:
    """Return what code an object holds or leads to, None if none."""
    kind, config, name = node["class_name"], as_dict(node.get("config")), _name(node)
    plain, package = name.rsplit(">", 1)[-1], _keras_package(node)
    if kind == "__lambda__":
        return "a Python lambda as byte code"
    if kind == "Lambda" and any(
        _is_bytecode(config, k) for k in ("function", "output_shape", "mask")
    ):
        return f"the byte code of the Lambda layer {config.get('name')!r}"
    if plain in _LOADERS:
        return f"a {plain}, which loads objects of another library"
    if plain in _LOOKUPS and isinstance(config.get("vocabulary"), str):
        return f"a {plain} that reads the file {config['vocabulary']!r}"
    if _is_registered(node):
        return None
    if plain in _MAKERS and package in (None, *_CLASSES):
        return f"the function {plain!r}, which makes objects of any text"
    is_function = kind == "function" or name[:1].islower()
    if package is not None and package not in (_FUNCTIONS if is_function else _CLASSES):
        return f"{node.get('module')}.{name}, which is not part of a model"
    return None


def _is_bytecode(config: _Node, key: str) -> bool:
    """Return whether a Lambda layer holds a function itself, as Keras 1, 2 or 3 writes it."""
    value = config.get(key)
    as_list = isinstance(value, list) and any(isinstance(item, str) for item in value)
    as_object = as_dict(value).get("class_name") == "__lambda__"
    return as_list or as_object or config.get(f"{key}_type") in ("lambda", "raw")


def _keras_package(node: _Node) -> str | None:
    """Return the package of Keras that an object is said to be from, "" for Keras itself, or None."""
    module = node.get("module")
    top, *parts = module.split(".") if isinstance(module, str) else [""]
    inner = [part for part in parts if part not in ("src", "api", "legacy", "_legacy")]
    if inner[:3] == ["backend", "torch", "optimizers"]:
        # Under PyTorch an optimizer of Keras says that it is from here.
        return "optimizers"
    return None if top != "keras" else inner[0] if inner else ""


def _foreign_module(node: _Node) -> str | None:
    """Return the module outside Keras that an unregistered object is from, None if there is none."""
    module = node.get("module")
    foreign = isinstance(module, str) and module not in ("", "builtins")
    if not foreign or _keras_package(node) is not None or _is_registered(node):
        return None
    return str(module)


def _is_only_named(module: str) -> bool:
    """Return whether Keras cannot find a module by itself: a loss's own home, which is not imported."""
    package = module.split(".")[0]
    known = package in sys.stdlib_module_names and package != "__main__"
    return package not in _IMPORTED and not known


def _is_registered(node: _Node) -> bool:
    """Return whether the caller has registered an object with a running Keras, as Keras looks it up."""
    saving = getattr(sys.modules.get("keras"), "saving", None)
    name: object = _name(node)
    # What a file calls registered is another name for functions, and in the notation of HDF5 files.
    if node["class_name"] != "function" and "module" in node:
        name = node.get("registered_name", name)
    if saving is None or not isinstance(name, str):
        return False
    return saving.get_registered_object(name) is not None
