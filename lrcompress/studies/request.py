"""What is asked of `train_from_scratch` and `compare`, checked before Keras starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import TrainingError, did_you_mean
from lrcompress.files import sha256
from lrcompress.modelfile import SUFFIXES
from lrcompress.records import ARMS

if TYPE_CHECKING:
    from lrcompress.studies.networks import Recipe

# Passes over the training data for a network that has no published number.
EPOCHS = 10
BATCH_SIZE = 32
# Data sets with a network of their own.
PUBLISHED = ("mnist", "cifar100", "digits")


def is_model_file(model: str | Path) -> bool:
    """Return whether a model is named by its file, not by a function that builds it."""
    return Path(model).suffix.lower() in [end for ends in SUFFIXES.values() for end in ends]


def file_stem(dataset: str) -> str:
    """Return what names of files begin with for a data set, which may be a path or a function."""
    return Path(dataset.replace(":", "-")).stem


def check_published(dataset: str, model: str | Path | None) -> None:
    """Refuse a data set without a network, before anything is loaded."""
    if model is None and dataset not in PUBLISHED:
        msg = (
            f"No network is published for data set {dataset!r}; expected {', '.join(PUBLISHED)}, "
            "or a network of your own: --model module:function or a model file."
            f"{did_you_mean(dataset, PUBLISHED)}"
        )
        raise TrainingError(msg, code="no_recipe")


@dataclass(frozen=True)
class CompareRequest:
    """What was asked of `compare`, whose arguments these are; None takes the usual."""

    model: str | None = None
    chosen: Sequence[str] | None = None
    epochs: int | None = None
    budget: int | None = None
    finetune_epochs: int = 2
    batch_size: int | None = None
    keep_models: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown arms, and a budget that cannot be kept."""
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
        return Path(self.model) if self.model is not None and is_model_file(self.model) else None

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
        settings = {
            "dataset": dataset,
            # The file's name without its folders, or the function.
            "network": None if self.model is None else Path(self.model).name,
            "sha256": None if self.file is None else sha256(self.file),
            "scaling": None if self.model is None else scaling,
            "full_epochs": counts["full"],
            "scratch_epochs": counts["scratch"],
            "finetune_epochs": self.finetune_epochs,
            "batch_size": self.batch_size or (recipe.batch_size if recipe else BATCH_SIZE),
            "budget": self.budget,
        }
        return {key: value for key, value in settings.items() if value is not None}
