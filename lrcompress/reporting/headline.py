"""What a story comes to: the stage that counts, what it saves, what it costs."""

from __future__ import annotations

from typing import Any

from lrcompress.reporting import words
from lrcompress.reporting.layers import changed_layers, layers_name


def stage_of(story: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return the stage of that name."""
    return next((stage for stage in story["stages"] if stage["name"] == name), None)


def result_of(story: dict[str, Any]) -> dict[str, Any] | None:
    """Return the stage that a user would ship: fine-tuned if there is one, else factorized."""
    return stage_of(story, "finetuned") or stage_of(story, "factorized")


def headline(story: dict[str, Any]) -> dict[str, Any]:
    """Return the story in figures, and as ``text`` on one line."""
    layers, result = story["layers"], result_of(story) or {}
    before = sum(layer["parameters_before"] for layer in layers)
    after = sum(layer["parameters_after"] for layer in layers)
    found: dict[str, Any] = {
        "layers": len(layers),
        "what": layers_name(layers),
        "layer_parameters_before": before,
        "layer_parameters_after": after,
        # Of a network one layer may be counted with several that change it.
        "layer_reduction": None
        if changed_layers(story) or not before
        else (before - after) / before,
        "model_reduction": result.get("parameters_reduction"),
        "stage": result.get("name"),
        "allowed": words.allowed_drop(story, result.get("measure", "error_rate")),
        "balanced_rise": words.balanced_rise(stage_of(story, "original") or {}, result),
        **_measured(story, result),
    }
    return {"text": _text(found), **found}


def _measured(story: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Return the main figure before and after; of several outputs there is no single one."""
    original = stage_of(story, "original") or {}
    measure = result.get("measure", "error_rate")
    before, after = original.get(measure), result.get(measure)
    if not words.metric(measure).sentence or before is None or after is None:
        return dict.fromkeys(("measure", "before", "after", "drop"))
    return {"measure": measure, "before": before, "after": after, "drop": result.get("drop")}


def _text(found: dict[str, Any]) -> str:
    if not found["layers"]:
        return "no layer factorized"
    own = found["layer_reduction"]
    text = found["what"] if own is None else f"{found['what']} {saved_share(own)}"
    text = f"{text}, model {saved_share(found['model_reduction'])}"
    if found["before"] is None:
        return text
    name, change, lost = written_change(found)
    return f"{text}, {name} {change} ({lost})"


def written_change(found: dict[str, Any]) -> tuple[str, str, str]:
    """Return the figure's name, itself before and after, and the difference."""
    how = words.metric(found["measure"])
    change = f"{found['before']:{how.digits}} → {found['after']:{how.digits}}{how.unit}"
    return how.sentence, change, difference(found)


def difference(found: dict[str, Any]) -> str:
    """Return the difference of a figure: with half its 95 % interval where that is symmetric."""
    how, paired, before = words.metric(found["measure"]), found["drop"], found["before"]
    digits, unit = how.digits, how.step
    lost = words.lost_of(found["measure"], before, found["after"])
    if not isinstance(paired, dict) or paired.get("low") is None:
        return minus(f"{lost:+{digits}}{unit}")
    low, high = paired["low"], paired["high"]
    half = (high - low) / 2
    if abs(low + half - lost) <= 0.02 * half:
        return minus(f"{lost:+{digits}} ± {half:{digits}}{unit}")
    return minus(f"{lost:+{digits}}{unit}, 95 % interval {low:+{digits}} to {high:+{digits}}")


def saved_share(part: float | None) -> str:
    """Return a share saved as a change: −58.2 %."""
    if part is None:
        return "-"
    return minus(f"{'+' if part < 0 else '-'}{words.share(abs(part))}") if part else "± 0 %"


def sentence(text: str) -> str:
    """Return text that begins with a capital letter."""
    return f"{text[:1].upper()}{text[1:]}"


def minus(text: str) -> str:
    """Return text with the true minus sign before numbers."""
    return "".join(
        "\N{MINUS SIGN}" if c == "-" and text[i + 1 : i + 2].isdigit() else c
        for i, c in enumerate(text)
    )


def interval(bounds: str) -> str:
    """Return the ends of an interval, which a table writes "low, high]", in words."""
    return minus(bounds.removesuffix("]").replace(", ", " to ")) if bounds else ""


def verdict(found: dict[str, Any]) -> str:
    """Return in words whether the difference is more than chance, and whether it was allowed."""
    paired, allowed = found["drop"], found.get("allowed")
    if not isinstance(paired, dict) or paired.get("low") is None:
        return ""
    text = _difference(paired)
    if allowed is None or not words.metric(found["measure"]).step:
        return text
    said = words.allowance(paired, allowed, found.get("balanced_rise"), found.get("measure"))
    return f"{text} Drop on the test data: {said}."


def _difference(paired: dict[str, Any]) -> str:
    low, high = paired["low"], paired["high"]
    if paired.get("only_first_wrong") == paired.get("only_second_wrong") == 0:
        return "The compressed model is right and wrong on the same test samples as the original."
    if low > 0:
        return "The compressed model is worse on these test samples by more than chance explains."
    if high < 0:
        return "The compressed model is better on these test samples by more than chance explains."
    return "No measurable difference between the two models on these test samples: the interval contains 0."
