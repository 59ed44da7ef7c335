"""What a whole network may cost, and the options that keep to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lrcompress.compression.drop import MaxDrop, MaxRise
from lrcompress.compression.network.candidates import Option
from lrcompress.compression.network.hulls import path_of, trimmed
from lrcompress.compression.network.request import NetworkRequest
from lrcompress.compression.network.stage import Stage, edits_of, in_place
from lrcompress.errors import RankError
from lrcompress.events import progress
from lrcompress.modelfile import ModelFile, write_changed
from lrcompress.records.network import ChangedLayer

# By what is lost: how it is told of an outcome.
_LOST = {rule.name: rule for rule in (MaxDrop(), MaxRise())}
# Without a budget: with inputs, and without.
_DEFAULTS: dict[bool, tuple[str, float]] = {True: ("max_drop", 0.5), False: ("energy", 0.95)}
_BYTES = {"float16": 2, "bfloat16": 2, "float64": 8}
# Of a file that is to have a size: how often the choice is made anew, a bit smaller each time.
_FITTINGS = 4


class Budget:
    """A bound on what is left of a network, or on what it may lose; `is_met` by the last choice or not."""

    def __init__(
        self, request: NetworkRequest, model: ModelFile, stage: Stage, of_narrower: float = 1.0
    ) -> None:
        """Of a request; errors of narrower layers count `of_narrower` times."""
        self._model, self.is_met, self._of_narrower = model, True, of_narrower
        self.name, self.value = request.budget or _DEFAULTS[stage.observed is not None]
        self.remarks: list[str] = []
        if self.name in _LOST and (stage.as_it_is is None or stage.as_it_is.drop is None):
            msg = (
                "max_drop needs data with labels to measure the error on; give --dataset, or --reduction, "
                "--multiplications, --target-size or --energy."
            )
            raise RankError(msg, code="needs_data")
        self._counts = _faster if self.name == "multiplications" else _saved
        stored = next(iter(stage.places.values())).layer.arrays[0].dtype
        self._each = _BYTES.get(str(stored), 4)
        now = (max(option.now or 0 for option in slot) for slot in stage.full_width)
        # What is to be saved, whatever it costs.
        shares = {
            "reduction": self.value * model.parameters,
            "multiplications": self.value * float(sum(now)),
            "target_size": (model.size - model.optimizer_bytes - self.value) / self._each,
        }
        self.is_share, self._least = self.name in shares, shares.get(self.name, 0.0)
        self._asked = self._least

    def about(self, layers: Sequence[ChangedLayer]) -> list[str]:
        """Return what the user should know of it, by what becomes of the layers in the end."""
        if self.is_met:
            return self.remarks
        which = "multiplications" if self.name == "multiplications" else "parameters"
        pairs = [(getattr(c, f"{which}_before"), getattr(c, f"{which}_after")) for c in layers]
        saved = sum((before or 0) - (after or 0) for before, after in pairs)
        return [
            *self.remarks,
            f"{self.name} {self.value:g} would need {self._asked:,.0f} {which} saved; these layers can save "
            f"{saved:,}: that is what was done.",
        ]

    def choose(
        self, stage: Stage, spent: Sequence[Option] = (), *, last: bool = False
    ) -> list[Option]:
        """Return the options to take, the `last` time none narrower; the file of this stage has the `spent` already."""
        self._least -= sum(map(self._counts, spent))
        if self.name == "energy":
            return _by_energy(stage, self.value)
        if self.name in _LOST:
            return self._by_drop(stage)
        slots = stage.full_width if last else stage.slots
        path = path_of(slots, self._counts, self._weighed)
        steps = path.saving(self._least)
        chosen, self.is_met = path.at(steps), steps is not None
        if not self.is_met:
            return chosen
        saved = sum(map(self._counts, chosen))
        return trimmed(chosen, slots, saved - self._least, self._counts, self._weighed)

    def fitted(self, stage: Stage, chosen: list[Option], folder: Path) -> list[Option]:
        """Return options whose file has the size that was asked for: new layers take room of their own."""
        if self.name != "target_size":
            return chosen
        for number in range(_FITTINGS):
            path = folder / f"size-{number}{self._model.path.suffix}"
            edits = edits_of(stage.solved(chosen, by_weights=True))
            over = write_changed(stage.model, edits, path).size - self.value
            path.unlink()
            if over <= 0:
                return chosen
            self._least += over / self._each
            way = path_of(stage.full_width, self._counts)
            chosen = way.at(way.saving(self._least))
        self.remarks.append(
            f"{self.value:,.0f} bytes cannot be reached; the file is the smallest that these layers allow."
        )
        return chosen

    def _weighed(self, option: Option) -> float:
        return option.error * (self._of_narrower if option.form.narrows else 1.0)

    def _by_drop(self, stage: Stage) -> list[Option]:
        """Return the options that save most while the drop on held-out inputs is allowed."""
        observed, rule = stage.observed, _LOST[self.name]
        if observed is None:
            raise AssertionError  # refused before
        # What gets narrower only where it costs nothing: whatever else is weighed against all others.
        free = [o for slot in stage.slots for o in slot if o.form.narrows and o.response <= 0]
        if free:
            return free
        path = path_of(stage.full_width, _saved)
        low, high = 0, len(path.steps) + 1
        while high - low > 1:
            middle = (low + high) // 2
            outcome = observed.trial(in_place(stage.solved(path.at(middle))), "trying all together")
            fits = rule.lost(outcome) <= self.value
            low, high = (middle, high) if fits else (low, middle)
            progress("looking for the smallest within the drop", len(path.steps) - (high - low),
                     len(path.steps))  # fmt: skip
        if not low:
            msg = (
                f"No form of these layers loses at most {rule.words(self.value)} on held-out data; "
                "raise --max-drop, or give --reduction and fine-tune."
            )
            raise RankError(msg, code="max_drop_unreachable")
        return path.at(low)


def _saved(option: Option) -> float:
    return float(option.saved)


def _faster(option: Option) -> float:
    return float(option.faster or 0)


def _by_energy(stage: Stage, value: float) -> list[Option]:
    """Return of each layer the option that saves most of those that keep so much energy."""
    touched: set[str] = set()
    kept = []
    good = [o for slot in stage.slots for o in slot if o.response <= 1 - value and o.saved > 0]
    for option in sorted(good, key=lambda o: (not o.form.narrows, -o.saved)):
        if option.form.narrows and option.response > 0:
            continue
        if touched.isdisjoint(option.form.touches):
            touched |= set(option.form.touches)
            kept.append(option)
    if not kept:
        msg = f"No layer gets smaller where it keeps {100 * value:g} % of its energy; ask for less."
        raise RankError(msg, code="nothing_to_gain")
    return kept
