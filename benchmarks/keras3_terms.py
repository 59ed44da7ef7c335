"""List the terms of the installed Keras 3: its classes, what each takes, and names it knows.

    python benchmarks/keras3_terms.py

Writes `lrcompress/modelfile/modern/keras3_terms.json`, by which `modernize` tells what Keras 3 accepts without
starting Keras.
"""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import keras

TARGET = Path(__file__).parent.parent / "lrcompress" / "modelfile" / "modern" / "keras3_terms.json"
KINDS = ("layers", "initializers", "regularizers", "constraints", "losses", "metrics", "optimizers")


def arguments(cls: type) -> list[str]:
    """Return the names that a class's constructor takes, those of its bases included."""
    names: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("keras") or "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]  # type: ignore[misc]
        names |= {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return sorted(names)


def terms() -> dict[str, Any]:
    """Return the document."""
    document: dict[str, Any] = {"keras_version": keras.__version__}
    for kind in KINDS:
        public = getattr(keras, kind)
        classes = {name: getattr(public, name) for name in dir(public) if name[0].isupper()}
        document[kind] = {
            name: arguments(cls) for name, cls in sorted(classes.items()) if inspect.isclass(cls)
        }
    for kind in ("initializers", "activations", "losses", "metrics"):
        known = importlib.import_module(f"keras.src.{kind}").ALL_OBJECTS_DICT
        names = {name for name in known if isinstance(name, str) and name == name.lower()}
        document[f"{kind}_by_name"] = sorted(names)
    return document


if __name__ == "__main__":
    TARGET.write_text(json.dumps(terms(), separators=(",", ":")) + "\n", encoding="utf-8")
