"""What Keras 3 accepts, from a list made with Keras itself (`benchmarks/keras3_terms.py`)."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any


@functools.cache
def _terms() -> dict[str, Any]:
    """Return the list; read once, and only where something is modernized."""
    text = files(__package__).joinpath("keras3_terms.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def arguments(kind: str, class_name: object) -> frozenset[str] | None:
    """Return what a class of a kind, "layers" or "losses", takes; None if Keras 3 has none such."""
    found = _terms()[kind].get(class_name) if isinstance(class_name, str) else None
    return None if found is None else frozenset(found)


def knows_name(kind: str, name: object) -> bool:
    """Return whether Keras 3 knows a function or class by this name: ``"glorot_uniform"``."""
    terms = _terms()
    return name in terms[f"{kind}_by_name"] or name in terms.get(kind, ())
