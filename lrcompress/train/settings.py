"""How to fine-tune: what a user may say, and what is decided for the rest."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lrcompress.errors import TrainingError, did_you_mean
from lrcompress.live.devices import replicas
from lrcompress.train.part import REFIT_SAMPLES

# Of what a teacher says, and its share of the loss.
TEMPERATURE, WEIGHT = 2.0, 0.5
# Chosen on validation data; see benchmarks/finetune_choices.py.
LEARNING_RATE = 1e-3
# For a whole network whose outputs are off by no more than `CLOSE` from the original's: a ResNet at KL
# 0.06 ended best with 3e-4, at 0.17 and 0.6 with 1e-3.
GENTLE_RATE, CLOSE = 3e-4, 0.15
BATCH_SIZE = {"model": 128, "head": 256}
SMALLEST_BATCH = 16
# Outputs of a step: about ten arrays of so many, teacher and gradients included, are in memory.
MOST_OUTPUTS = 2**24
# An epoch should have at least so many steps.
STEPS = {"model": 50, "head": 20}
# Epochs of each scope; those of the head alone take a moment.
EPOCHS = {"model": 2, "head": 5}
# Without labels a few inputs are gone through more often: so many in all, and so many times at most.
UNLABELLED, MOST_EPOCHS = 30_000, 10
# bfloat16 products over float32 weights.
MIXED = "mixed_bfloat16"
# What each precision that may be asked for comes to, itself included.
PRECISIONS = {"auto": "float32", "float32": "float32", "mixed": MIXED, MIXED: MIXED}
# What the settings that are words may be.
NAMES = {
    "scope": ("model", "head"),
    "optimizer": ("adam", "original"),
    "precision": tuple(PRECISIONS),
}


@dataclass(frozen=True)
class FinetuneSettings:
    """How to fine-tune; the defaults are the everyday case, `lrcompress.finetune` explains the most."""

    epochs: int | None = None  # None takes those of the scope
    learning_rate: float | None = (
        None  # None takes 0.001, or with the original's optimizer that one's own
    )
    # None takes that of the scope, or fewer where that would leave few steps or fill the memory with outputs.
    batch_size: int | None = None
    seed: int = 0
    # Off where nobody asks for it: a few epochs beside the original do not overfit, and dropout before a narrow
    # layer hides its signal.
    dropout: bool = False
    # Of normalizations, as in training: these and their own must not drift away from what the original has.
    batch_statistics: bool = False
    # Some of `augment.WAYS`; None takes those that the original minds little, and none where there are labels.
    augmentation: tuple[str, ...] | None = None
    scope: str = "model"
    distill: bool = True
    temperature: float = TEMPERATURE
    teacher_weight: float = WEIGHT
    optimizer: str = "adam"
    patience: int | None = None
    precision: str = "auto"
    refit_samples: int = REFIT_SAMPLES

    def __post_init__(self) -> None:
        """Refuse what is no scope, optimizer or precision."""
        for setting, names in NAMES.items():
            value = getattr(self, setting)
            if value not in names:
                near = did_you_mean(str(value), names)
                msg = (
                    f"Received {setting}={value!r}; expected {' or '.join(map(repr, names))}.{near}"
                )
                raise TrainingError(msg, code="bad_setting")

    def decided(self, samples: int, outputs: int = 1, *, labelled: bool = True) -> FinetuneSettings:
        """Return the settings for so many samples with so many outputs each, but for the augmentation all decided."""
        rate = self.learning_rate
        if rate is None and self.optimizer == "adam":
            rate = LEARNING_RATE
        epochs = self.epochs or EPOCHS[self.scope]
        often = 1.0
        if not labelled and self.scope == "model":
            epochs = self.epochs or max(epochs, min(MOST_EPOCHS, UNLABELLED // samples))
            often = epochs / EPOCHS[self.scope]
        size = self.batch_size or _batch_size(self.scope, round(often * samples), outputs)
        return dataclasses.replace(
            self,
            epochs=epochs,
            learning_rate=rate,
            batch_size=replicas().rounded(size),
            precision=PRECISIONS[self.precision],
        )


def _batch_size(scope: str, samples: int, outputs: int) -> int:
    """Return the scope's size, halved until an epoch has enough steps and the outputs fit in memory."""
    size = BATCH_SIZE[scope]
    while size > 1 and size * outputs > MOST_OUTPUTS:
        size //= 2
    while size > SMALLEST_BATCH and samples // size < STEPS[scope]:
        size //= 2
    return size
