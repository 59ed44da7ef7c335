"""What each layer of a network could save, told before anything is done."""

from __future__ import annotations

from typing import Any

from lrcompress.kinds import Form
from lrcompress.modelfile import ModelFile, find_places


def describe_places(opened: ModelFile) -> dict[str, Any]:
    """Return each layer that has a form, with what a quarter of its size would save, and why others have none."""
    if opened.tree is None or opened.weights.problem is not None:
        return {"places": [], "refused": {}}
    found = find_places(opened)
    whole = max(opened.parameters, 1)
    places = []
    for place in found.known.values():
        kind = place.kind
        if kind is None:  # a place that is known has one
            continue
        forms = kind.forms(place)
        best = max(forms, key=lambda form: form.before - form.parameters(_quarter(form)))
        saved = best.before - best.parameters(_quarter(best))
        places.append({
            "path": place.path,
            "kind": kind.name,
            "family": kind.family,
            "parameters": sum(array.size for array in place.layer.arrays),
            "forms": {form.name: form.largest for form in forms},
            "quarter": {
                "form": best.name,
                "size": _quarter(best),
                "parameters_saved": saved,
                "model_reduction": saved / whole,
            },
        })  # fmt: skip
    return {"places": places, "refused": found.refused}


def _quarter(form: Form) -> int:
    return max(form.largest // 4, 1)
