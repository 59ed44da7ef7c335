"""Two models on the same samples: by what both are measured by, and which classes are lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrcompress.errors import DatasetError
from lrcompress.measure.evaluation import Evaluation
from lrcompress.measure.paired import (
    PairedDifference,
    compare_means,
    compare_paired,
    compare_perplexities,
    compare_roots,
    compare_shares,
)

# A class is lost whose recall was at least so much, in percent, of so many samples, and halves.
WORTH_LOSING, ENOUGH = 10.0, 5
# Classes that a remark names.
MOST_NAMED = 3


@dataclass(frozen=True)
class PairedOutputs:
    """Two models with several outputs on the same samples, by output."""

    outputs: dict[str, PairedDifference | PairedOutputs]

    def to_json(self) -> dict[str, Any]:
        """Return the comparisons by output."""
        return {"outputs": {name: found.to_json() for name, found in self.outputs.items()}}


Comparison = PairedDifference | PairedOutputs


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Compare two models on the same samples by what both are measured by."""
    if first.measure == second.measure:
        one, other, weights = first.each, second.each, first.weights
        if first.measure == "error_rate":
            if weights is None:
                return compare_paired(one, other)
            return compare_shares("error_rate", one, other, weights)
        if first.measure == "perplexity":
            return compare_perplexities(one, other, weights)
        if first.measure == "binary_error":
            return compare_means("binary_error", 100 * one, 100 * other, weights)
        if first.measure == "rmse":
            return compare_roots("rmse", one, other, weights)
        pairs = zip(first.outputs.items(), second.outputs.values(), strict=True)
        return PairedOutputs({name: compare(old, new) for (name, old), new in pairs})
    msg = (
        f"One model is measured by its {first.measure}, the other by its {second.measure}; expected "
        "two models of the same kind: evaluate them one by one."
    )
    raise DatasetError(msg, code="measures_differ")


def lost_classes(before: Evaluation, after: Evaluation, output: str = "") -> list[str]:
    """Return remarks on classes that a changed model no longer finds, and on one that is all it gives."""
    if before.outputs:
        pairs = zip(before.outputs.items(), after.outputs.values(), strict=True)
        return [
            text
            for (name, old), new in pairs
            for text in lost_classes(old, new, f"Output {name}: ")
        ]
    old, new = before.by_class, after.by_class
    if old is None or new is None:
        return []
    word, remarks = "label" if before.measure == "binary_error" else "class", list[str]()
    fewest = 0 if word == "label" else 1
    if new.predicted <= fewest < old.predicted:
        what = "no label at all" if word == "label" else "one class only"
        remarks.append(
            f"{output}The result predicts {what} on the test data; the original does not."
        )
    lost = [
        f"{word} {i} ({100 * size / before.samples:.2g} % of the samples): {was:.0f} % to {now:.0f} %"
        for i, (size, was, now) in enumerate(zip(old.samples, old.recall, new.recall, strict=False))
        if was is not None and now is not None
        and size >= ENOUGH and was >= WORTH_LOSING and now < was / 2
    ]  # fmt: skip
    if lost:
        more = f", and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
        remarks.append(
            f"{output}Recall falls by more than half: {'; '.join(lost[:MOST_NAMED])}{more}."
        )
    return remarks
