"""A rule of one's own decides a rank from outside the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import lrcompress
from lrcompress.compression import RULES, Asked, Found, Joint, LayerTask
from lrcompress.errors import RankError
from lrcompress.lowrank import Curve


class MostParameters:
    """The largest ranks whose factors have at most so many entries."""

    name, by_errors = "most_parameters", False

    def check(self, value: float) -> None:
        """Refuse no entries at all."""
        if value < 1:
            msg = f"most_parameters must be 1 or more. Received: {value}."
            raise RankError(msg, code="bad_rule")

    def alone(self, task: LayerTask, asked: Asked) -> Found:
        """Return the largest rank of a layer."""
        m, n = task.layer.kernel_shape
        rank = int(asked.value) // (m + n)
        return rank, {rank: rank * (m + n)}, f"the largest with {asked.value:,.0f} parameters"

    def together(self, tasks: Sequence[LayerTask], curves: Sequence[Curve], asked: Asked) -> Joint:
        """Share the entries out evenly."""
        part = replace(asked, value=asked.value / len(tasks))
        ranks = tuple(self.alone(task, part)[0] for task in tasks)
        return ranks, f"to have {asked.value:,.0f} parameters"


def test_a_rule_from_outside(
    examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered in one line, it chooses for one layer and for several, is told, and refuses."""
    monkeypatch.setitem(RULES, "most_parameters", MostParameters())
    model = examples / "digits_cnn.keras"

    one = lrcompress.factorize(model, most_parameters=1_500, output=tmp_path / "one.keras")
    both = lrcompress.factorize(
        model, layers="dense", most_parameters=3_000, output=tmp_path / "both.keras"
    )
    with pytest.raises(RankError, match=r"expected one of .*most_parameters"):
        lrcompress.factorize(model, most_parameters=1_500, rank=3)

    assert one.rank == 1_500 // 266 == 5
    assert one.layers[0].choice.rule == "most_parameters"
    assert "the largest with 1,500 parameters" in one.layers[0].choice.message
    assert {layer.name: layer.rank for layer in both.layers} == {"dense": 3, "predictions": 5}


def test_unknown_rules_are_no_arguments(examples: Path) -> None:
    """A word that is no rule is refused as Python refuses it."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'rnk'"):
        lrcompress.factorize(examples / "digits_cnn.keras", rnk=3)
