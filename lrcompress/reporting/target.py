"""What a run was asked for, and whether that was reached."""

from __future__ import annotations

from typing import Any

from lrcompress.reporting import words
from lrcompress.reporting.headline import difference, headline, minus, result_of
from lrcompress.reporting.network import BUDGETS, counts_changes

# A share is met if it is once it is written: sizes are whole numbers.
_NEARLY = 5e-4


def target_of(story: dict[str, Any]) -> dict[str, Any] | None:
    """Return what was asked and reached in words, and whether it was ``met``, None where that is not known."""
    name, value, is_default = _asked(story)
    result = result_of(story)
    if name is None or not isinstance(value, (int, float)) or result is None:
        return None
    asked, reached, met = _compared(story, result, name, value)
    default = " (the default)" if is_default else ""
    return {"asked": f"{asked}{default}", "reached": reached, "met": met}


def _asked(story: dict[str, Any]) -> tuple[str | None, Any, bool]:
    """Return the budget of a network, or the rule of a single layer."""
    budget = (story["network"] or {}).get("budget")
    if budget:
        return budget["name"], budget["value"], bool(budget.get("default"))
    choices = [layer.get("rank_choice") or {} for layer in story["layers"]]
    rules = [(c.get("rule"), c.get("asked")) for c in choices if c.get("rule")]
    if not rules or any(one != rules[0] for one in rules):
        return None, None, False
    (rule, value), of_kernel = rules[0], "kernel "
    name = {"reduction": f"{of_kernel}reduction"}.get(str(rule), str(rule))
    return name, value, any(c.get("default") for c in choices)


def _compared(
    story: dict[str, Any], result: dict[str, Any], name: str, value: float
) -> tuple[str, str, bool | None]:
    """Return what was asked, what was reached, and whether that is enough."""
    network = story["network"] or {}
    if counts_changes(network):
        asked = BUDGETS["changed"].format(f"{value:g}")
        kept = (network.get("measured") or {}).get("agreement")
        if kept is None:
            return asked, "not in this record", None
        return asked, f"{100 - kept:.1f} % changed on synthetic inputs", 100 - kept <= value
    if name in ("max_drop", "max_perplexity_rise"):
        return BUDGETS[name].format(f"{value:g}"), *_dropped(story)
    if name in ("reduction", "kernel reduction"):
        found = result.get("parameters_reduction")
        what = "the model’s parameters"
        if name == "kernel reduction":
            what = "the kernel’s parameters"
            (layer, *_) = story["layers"]
            m, n = layer["kernel_shape"]
            found = 1 - layer["rank"] * (m + n) / (m * n)
        met = None if found is None else found >= value - _NEARLY
        return f"save {words.share(value)} of {what}", f"{words.share(found)} saved", met
    if name == "target_size":
        bytes_ = result["bytes"]
        return f"a file of at most {words.size(value)}", words.size(bytes_), bytes_ <= value
    if name == "multiplications":
        found = _multiplications(story)
        reached = "not in this record" if found is None else f"{words.share(found)} saved"
        met = None if found is None else found >= value - _NEARLY
        return f"save {words.share(value)} of the multiplications", reached, met
    if name == "energy":
        return BUDGETS["energy"].format(words.share(value)), "by construction", True
    if name == "rank":
        return f"rank {words.count(value)}", "as asked", True
    return name, f"{value}", None


def _dropped(story: dict[str, Any]) -> tuple[str, bool | None]:
    """Return how much was lost on the test data, and whether that was allowed."""
    found = headline(story)
    measure, paired, allowed = found["measure"], found["drop"], found["allowed"]
    if measure is None or not words.metric(measure).step or allowed is None:
        return "not measured on test data", None
    lost = difference(found)
    if not isinstance(paired, dict) or paired.get("low") is None:
        return minus(lost), words.lost_of(measure, found["before"], found["after"]) <= allowed
    said = words.allowance(paired, allowed, found["balanced_rise"], measure)
    met = {"within": True, "exceeds": False, "balanced": False}.get(said.partition(" ")[0])
    return f"{lost}: {said}", met


def _multiplications(story: dict[str, Any]) -> float | None:
    """Return the share of multiplications that a benchmark counted as saved."""
    models = (story.get("benchmark") or {}).get("models") or []
    counted = [entry["multiplications"] for entry in models[:2]]
    if len(counted) < 2 or not all(counted):
        return None
    return float(1 - counted[1] / counted[0])
