"""Whole networks, behind the verbs: what is asked of one; how it is done is imported where it is needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from lrcompress.compression import RULES
from lrcompress.errors import RankError

if TYPE_CHECKING:
    from lrcompress.compression.network import BudgetName, NetworkRequest

BUDGETS = (
    "reduction", "multiplications", "target_size", "energy", "max_drop", "max_perplexity_rise",
)  # fmt: skip


def words_of(layers: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the words of ``layers``: one or several, each perhaps a list with commas."""
    given = [layers] if isinstance(layers, str) else list(layers or ())
    words = [word.strip() for one in given for word in one.split(",")]
    return tuple(dict.fromkeys(word for word in words if word))


def network_request(
    words: tuple[str, ...],
    names: tuple[str, ...],
    rules: Mapping[str, Any],
    *,
    multiple: int = 1,
    by_matrix: bool = False,
) -> NetworkRequest | None:
    """Return what is asked of a whole network; None where single kernels are to be factorized."""
    if words and names:
        msg = (
            f"Received layers={','.join(words)!r} and layer={','.join(names)!r}; give one of them."
        )
        raise RankError(msg, code="bad_layers")
    wanted = words or (names if len(names) > 1 else ())
    of_one = [rule for rule in rules if rule not in BUDGETS]
    if by_matrix or of_one:
        if words not in ((), ("dense",)):
            what = of_one[0] if of_one else "method"
            msg = (
                f"{what} is of one matrix, and layers={','.join(words)!r} may have other forms; "
                "expected layers='dense' with it."
            )
            raise RankError(msg, code="bad_layers")
        wanted = ()
    if not wanted:
        for name, value in {**rules, "multiple": None if multiple == 1 else multiple}.items():
            if name not in RULES and value is not None:
                msg = f"{name} is of a whole network; give layers='all' (--layers all) with it."
                raise RankError(msg, code="bad_rule")
        return None
    if len(rules) > 1:
        msg = f"Received {', '.join(rules)}; expected one of {', '.join(BUDGETS)}."
        raise RankError(msg, code="several_rules")
    if isinstance(multiple, bool) or not isinstance(multiple, int) or multiple < 1:
        msg = f"`multiple` must be a whole number, 1 or more. Received: multiple={multiple!r}."
        raise RankError(msg, code="bad_rule")
    from lrcompress.compression.network import NetworkRequest

    budget = next(((cast("BudgetName", k), _value(k, v)) for k, v in rules.items()), None)
    return NetworkRequest(wanted, budget, multiple)


def _value(name: str, value: Any) -> float:  # noqa: ANN401  # what a user gave
    if name == "target_size":
        from lrcompress.files.sizes import bytes_of

        try:
            return float(bytes_of(str(value)))
        except ValueError as error:
            msg = f"{error}."
            raise RankError(msg, code="bad_rule") from error
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        msg = f"`{name}` must be a number. Received: {name}={value!r}."
        raise RankError(msg, code="bad_rule")
    if name in RULES:
        RULES[name].check(float(value))
    elif not 0 < value <= 1:
        msg = f"{name} must be a share above 0 and at most 1, for example 0.5. Received: {value}."
        raise RankError(msg, code="bad_rule")
    return float(value)
