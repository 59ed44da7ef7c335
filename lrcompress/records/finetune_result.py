"""What `finetune` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress.records import runs
from lrcompress.records.results import Shown, figure_of, text_of

FILES = ("input", "output", "record")


@dataclass(frozen=True, repr=False)
class FinetuneResult(Shown):
    """What `finetune` did.

    Attributes:
        input: The factorized model; None where that was in memory.
        output: The fine-tuned model; None then, unless one was asked for.
        record: The run record, extended; likewise.
        epochs: Asked for.
        epochs_done: Fewer where it stopped before.
        best_epoch: Kept; 0 if none was better than the start on the validation part.
        stopped: Why it ended: ``done``, ``patience``, ``diverged`` or ``interrupted``.
        resumed_from: Epochs that an unfinished run had done.
        measure: Key of the main figure in the next three.
        original: Figures of the original on the test data; None if not at hand.
        before: Of the factorized model.
        after: Of the fine-tuned model.
        error_rate_original: Of the original, in percent; None if not at hand, or no classifier.
        error_rate_before: Of the factorized model.
        error_rate_after: Of the fine-tuned model.
        drop: After against original, paired, in points; None if the original was not at hand.
        seconds: Of training and validation.
        images_per_second: Training samples a second of training time.
        device: What computed it.
        distilled: Whether the original model taught.
        settings: All of them, with what was left open decided.
        dataset: Its name.
        scaling: What the inputs went through.
        history: One entry an epoch, the start and the re-fitted head being epoch 0.
        warnings: What the user should know.
        trained: What was trained: head, whole model, or the layers that are not frozen.
        model: The fine-tuned Keras model, a copy, where the input was a model in memory.
    """

    input: Path | None
    output: Path | None
    record: Path | None
    epochs: int
    epochs_done: int
    best_epoch: int
    stopped: str
    resumed_from: int
    measure: str
    original: dict[str, Any] | None
    before: dict[str, Any]
    after: dict[str, Any]
    error_rate_original: float | None
    error_rate_before: float | None
    error_rate_after: float | None
    drop: dict[str, Any] | None
    seconds: float
    images_per_second: float
    device: str
    distilled: bool
    settings: dict[str, Any]
    dataset: str
    scaling: str
    history: list[dict[str, Any]]
    warnings: list[str]
    trained: str = "whole model"
    model: Any = None

    def facts(self) -> dict[str, str]:
        """Return what came of the training."""
        original = {} if self.original is None else {"original": figure_of(self.original)}
        return {
            "epochs": f"{self.epochs_done} of {self.epochs}, best {self.best_epoch}",
            **original,
            "before": figure_of(self.before),
            "after": figure_of(self.after),
            "output": str(self.output or "in memory"),
        }

    @property
    def interrupted(self) -> bool:
        """Whether the training was interrupted; an unfinished run may be left to resume."""
        return self.stopped == "interrupted"

    def to_json(self) -> dict[str, Any]:
        """Return the document that `lrcompress finetune --json` prints."""
        document: dict[str, Any] = {"schema_version": runs.SCHEMA_VERSION, **self.__dict__}
        del document["model"]
        return document | {key: text_of(document[key]) for key in FILES}

    def to_record(self) -> dict[str, Any]:
        """Return what the run record keeps of it, beside the stages and the files."""
        kept = self.to_json()
        # The stages hold the figures.
        return {
            k: v
            for k, v in kept.items()
            if k not in (*FILES, "original", "before", "after", "trained")
        }
