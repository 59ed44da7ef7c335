"""What a run was asked for, and whether that was reached."""

from __future__ import annotations

from typing import Any

from lrcompress.reporting.headline import difference, minus, result_of, stage_of
from lrcompress.reporting.network import BUDGETS, counts_changes
from lrcompress.reporting.words import (
    allowance,
    allowed_drop,
    balanced_rise,
    count,
    lost_of,
    metric,
    share,
    size,
)

# A share is met if it is once it is written: sizes are whole numbers.
_NEARLY = 5e-4


def target_of(story: dict[str, Any]) -> dict[str, Any] | None:
    """Return what was asked and what was reached in words, and whether it was ``met``; None where nothing was asked.

    ``met`` is None where the record does not tell, or the test data are too few.
    """
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
    story: dict[str, Any],
    result: dict[str, Any],
    name: str,
    value: Any,  # noqa: ANN401
) -> tuple[str, str, bool | None]:
    """Return what was asked, what was reached, and whether that is enough."""
    network = story["network"] or {}
    if counts_changes(network):
        asked, kept = (
            BUDGETS["changed"].format(f"{value:g}"),
            (network.get("measured") or {}).get("agreement"),
        )
        if kept is None:
            return asked, "not in this record", None
        return asked, f"{100 - kept:.1f} % changed on synthetic inputs", 100 - kept <= value
    if name in ("max_drop", "max_perplexity_rise"):
        return BUDGETS[name].format(f"{value:g}"), *_dropped(story, result)
    if name in ("reduction", "kernel reduction"):
        found = result.get("parameters_reduction")
        what = "the model’s parameters"
        if name == "kernel reduction":
            what = "the kernel’s parameters"
            (layer, *_) = story["layers"]
            m, n = layer["kernel_shape"]
            found = 1 - layer["rank"] * (m + n) / (m * n)
        met = None if found is None else found >= value - _NEARLY
        return f"save {share(value)} of {what}", f"{share(found)} saved", met
    if name == "target_size":
        bytes_ = result["bytes"]
        return f"a file of at most {size(value)}", size(bytes_), bytes_ <= value
    if name == "multiplications":
        found = _multiplications(story)
        reached = "not in this record" if found is None else f"{share(found)} saved"
        met = None if found is None else found >= value - _NEARLY
        return f"save {share(value)} of the multiplications", reached, met
    if name == "energy":
        return BUDGETS["energy"].format(share(value)), "by construction", True
    if name == "rank":
        return f"rank {count(value)}", "as asked", True
    return name, f"{value}", None


def _dropped(story: dict[str, Any], result: dict[str, Any]) -> tuple[str, bool | None]:
    """Return how much was lost on the test data, and whether that was allowed."""
    original, measure = stage_of(story, "original") or {}, result.get("measure", "error_rate")
    before, after, paired = original.get(measure), result.get(measure), result.get("drop")
    allowed = allowed_drop(story, measure)
    if not metric(measure).step or before is None or after is None or allowed is None:
        return "not measured on test data", None
    lost = difference({"measure": measure, "before": before, "after": after, "drop": paired})
    if not isinstance(paired, dict) or paired.get("low") is None:
        return minus(lost), lost_of(measure, before, after) <= allowed
    said = allowance(paired, allowed, balanced_rise(original, result), measure)
    met = {"within": True, "exceeds": False}.get(said.partition(" ")[0])
    if said.startswith("balanced"):
        met = False
    return f"{lost}: {said}", met


def _multiplications(story: dict[str, Any]) -> float | None:
    """Return the share of multiplications that a benchmark counted as saved."""
    models = (story.get("benchmark") or {}).get("models") or []
    counted = [entry["multiplications"] for entry in models[:2]]
    if len(counted) < 2 or not all(counted):
        return None
    return float(1 - counted[1] / counted[0])
