"""The nouns of a whole network: what is asked, what comes of it, what is observed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lrcompress.compression.trial import Outcome
from lrcompress.kinds import Arrays, Batch, Place
from lrcompress.modelfile import ModelFile

# What a budget counts. A share is between 0 and 1; bytes are of the written file; energy is the least
# share that each kernel keeps (of its responses, with data); a drop is in points on held-out data, or in
# percent of perplexity.
BudgetName = Literal[
    "reduction", "multiplications", "target_size", "energy", "max_drop", "max_perplexity_rise"
]


@dataclass(frozen=True)
class NetworkRequest:
    """What was asked of a whole network."""

    layers: tuple[str, ...] = ("all",)  # or words of families (dense, conv, ...), names and paths
    budget: tuple[BudgetName, float] | None = None  # None for the default
    multiple: int = 1  # which sizes are where they can be


# Is shown what goes through a layer in the network as it is, and in the one changed so far, by batch;
# returns other arrays of layers that have not run yet, its own among them, or None to leave them.
Visit = Callable[[Place, list[Batch], list[Batch]], Arrays | None]


class Observed(Protocol):
    """A network that runs, and inputs of it: some to calibrate on, others to judge by."""

    def gather(self, places: Sequence[Place], arrays: Arrays) -> dict[str, Any]:
        """Return what each kind gathered of the calibration inputs, by path (`Kind.gather`)."""

    def trial(self, arrays: Arrays, task: str) -> Outcome:
        """Return what the network does with other arrays in some layers, on held-out inputs."""

    def in_order(self, places: Sequence[Place], visit: Visit) -> None:
        """Run the calibration inputs through the network as it is, and as `visit` changes it layer by layer."""


# Loads a model file in its runtime with the inputs.
Observe = Callable[[ModelFile], Observed]
