"""What fine-tuning did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrcompress.measure.evaluation import Comparison, Evaluation
from lrcompress.train.settings import FinetuneSettings


@dataclass(frozen=True)
class FinetuneOutcome:
    """What fine-tuning did; the model passed in now holds the weights of the best epoch.

    Attributes:
        before: On the test data, before.
        after: On the test data, after.
        original: The original model on the test data; None if it was not at hand.
        epochs_done: Fewer than asked for where it stopped before.
        best_epoch: 0 if no epoch was better on the validation part than the start.
        history: For the start (epoch 0; again after the head was re-fitted) and each epoch:
            training loss, validation error rate and loss.
        settings: With what was left open decided.
        seconds: Wall time of training and validation, without loading and testing.
        images_per_second: Training samples a second of training time.
        distilled: Whether the original taught.
        stopped: Why it ended: ``done``, ``patience``, ``diverged`` or ``interrupted``.
        resumed_from: Epochs that a checkpoint brought; 0 if it began anew.
        drop_before: `before` against `original`, paired; None without the original.
        drop: `after` against `original`, paired; None without the original.
        weights_frozen: How many weights stayed as they were because their layers are frozen.
        thawed: Whether all layers were frozen, and were trained all the same.
    """

    before: Evaluation
    after: Evaluation
    original: Evaluation | None
    epochs_done: int
    best_epoch: int
    history: list[dict[str, Any]]
    settings: FinetuneSettings
    seconds: float
    images_per_second: float
    distilled: bool
    stopped: str
    resumed_from: int
    drop_before: Comparison | None
    drop: Comparison | None
    weights_frozen: int = 0
    thawed: bool = False

    @property
    def trained(self) -> str:
        """What was trained, in words that "trained on ..." can follow."""
        if self.settings.scope == "head":
            return "head"
        if self.thawed:
            return "frozen layers"
        return "layers that are not frozen" if self.weights_frozen else "whole model"

    def warnings(self) -> list[str]:
        """Return what the user should know."""
        found = []
        if self.thawed:
            found.append(
                "All layers of the model are frozen: they were trained all the same, but for batch "
                "normalization, and are frozen again in the file."
            )
        elif self.weights_frozen:
            found.append(
                f"{self.weights_frozen:,} weights stayed as they were: their layers are frozen."
            )
        if self.stopped == "interrupted":
            found.append(
                f"Interrupted in epoch {self.epochs_done + 1} of {self.settings.epochs}; kept the best so far."
            )
        if self.stopped == "diverged":
            found.append(
                f"Stopped after epoch {self.epochs_done}: the loss is no number any more; try a smaller "
                "--learning-rate."
            )
        if self.stopped == "patience":
            found.append(f"Stopped after epoch {self.epochs_done}: no better one came.")
        if not any(entry["kept"] for entry in self.history[1:]):
            found.append(
                "No epoch was better than the start on the validation part; kept the start."
            )
        return found
