"""What was asked of `compare`, and the settings that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import TrainingError, did_you_mean
from lrcompress.files import sha256
from lrcompress.reporting.arms import ARMS
from lrcompress.verbs.train_from_scratch import BATCH_SIZE, EPOCHS, MODEL_SUFFIXES, network_name

if TYPE_CHECKING:
    from lrcompress.studies.networks import Recipe


@dataclass(frozen=True)
class Asked:
    """What was asked for, checked before anything is loaded.

    Attributes:
        model: The full-rank model file, or what builds a network; None for the published one.
        chosen: The arms named; None for the usual ones.
        epochs: Of full-rank and from-scratch training; None for the usual ones.
        budget: Epochs in all; None for no budget.
        finetune_epochs: The extra epochs.
        batch_size: Of full-rank and from-scratch training; None for the usual one.
    """

    model: str | None
    chosen: Sequence[str] | None
    epochs: int | None
    budget: int | None
    finetune_epochs: int
    batch_size: int | None

    def __post_init__(self) -> None:
        wrong = sorted(set(self.chosen or ()) - set(ARMS))
        if wrong:
            near = did_you_mean(wrong[0], ARMS)
            msg = f"Unknown arm {wrong[0]!r}; expected some of {', '.join(ARMS)}.{near}"
            raise TrainingError(msg, code="unknown_arm")
        if self.budget is None:
            return
        if self.file is not None:
            msg = (
                "A budget counts the epochs of the full-rank network, which a model file does not "
                "tell; give the epochs of training from scratch instead."
            )
            raise TrainingError(msg, code="budget")
        if self.epochs is not None or self.budget <= self.finetune_epochs:
            msg = (
                f"Received a budget of {self.budget} epochs, {self.finetune_epochs} of them for "
                f"fine-tuning, and epochs={self.epochs}; expected one of the two, and a budget that "
                "leaves the full-rank network at least one epoch."
            )
            raise TrainingError(msg, code="budget")

    @property
    def file(self) -> Path | None:
        """The full-rank model, if one is given."""
        if self.model is None or Path(self.model).suffix.lower() not in MODEL_SUFFIXES:
            return None
        return Path(self.model)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms wanted, in their order; the full-rank one is always among them."""
        if self.chosen is None:
            return tuple(arm for arm in ARMS if self.file is None or arm != "scratch")
        return tuple(arm for arm in ARMS if arm in self.chosen or arm == "full")

    def trained_epochs(self, recipe: Recipe | None) -> dict[str, int | None]:
        """Return what the arms full and scratch are trained for, None for a model that is given."""
        usual: int = self.epochs or (EPOCHS if recipe is None else recipe.epochs)
        full = usual if self.budget is None else self.budget - self.finetune_epochs
        scratch = usual if self.budget is None else self.budget
        return {"full": None if self.file is not None else full, "scratch": scratch}

    def settings(self, dataset: str, recipe: Recipe | None, scaling: str | None) -> dict[str, Any]:
        """Return what decides the numbers: a folder holds rows of one of these."""
        counts = self.trained_epochs(recipe)
        usual = BATCH_SIZE if recipe is None else recipe.batch_size
        settings = {
            "dataset": dataset,
            "network": None if self.model is None else network_name(self.model),
            "sha256": None if self.file is None else sha256(self.file),
            "scaling": None if self.model is None else scaling,
            "full_epochs": counts["full"],
            "scratch_epochs": counts["scratch"],
            "finetune_epochs": self.finetune_epochs,
            "batch_size": self.batch_size or usual,
            "budget": self.budget,
        }
        return {key: value for key, value in settings.items() if value is not None}
