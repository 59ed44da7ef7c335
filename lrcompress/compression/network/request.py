"""The nouns of a whole network: what is asked, what comes of it, what is observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lrcompress.compression.trial import Outcome
from lrcompress.kinds import Arrays, Batch, Place, Serialized
from lrcompress.modelfile import ModelFile
from lrcompress.records.network import ChangedLayer

# What a budget counts. A share is between 0 and 1; bytes are of the written file; energy is the least
# share that each kernel keeps (of its responses, with data); a drop is in points on held-out data, or in
# percent of perplexity.
BudgetName = Literal[
    "reduction", "multiplications", "target_size", "energy", "max_drop", "max_perplexity_rise"
]


@dataclass(frozen=True)
class NetworkRequest:
    """What was asked of a whole network.

    Attributes:
        layers: ``"all"``, words of families (dense, conv, ...), or names and paths of layers.
        budget: What is bounded, and by what; None for the default.
        multiple: Sizes are multiples of this where they can be.
        force: Allow what saves nothing.
    """

    layers: tuple[str, ...] = ("all",)
    budget: tuple[BudgetName, float] | None = None
    multiple: int = 1
    force: bool = False


@dataclass(frozen=True)
class CurvePoint:
    """One candidate: a layer in one form at one size, all other layers as they are.

    Attributes:
        parameters: Weights of the layers that it changes, as they are.
        error: Of the outputs, measured or interpolated; without data of the kernel.
        measured: Whether the network ran with it.
    """

    form: str
    size: int
    parameters: int
    parameters_saved: int
    multiplications_saved: int | None
    error: float
    measured: bool


@dataclass(frozen=True)
class Compressed:
    """A network made smaller, not written yet.

    Attributes:
        model: The file that the edits apply to: the input, or one made on the way.
        edits: Stock layers by the path of the layer that they stand for, see `kinds.Solution`.
        layers: What becomes of each layer that changes.
        curves: Of every layer that was looked at, its candidates: its sensitivity.
        kept: Why other layers stay as they are, by path.
        predicted: Sum of the shares; None without data.
        measured: The network with all of it on held-out inputs; None without data.
        remarks: Sentences for the user.
    """

    model: ModelFile
    edits: Mapping[str, tuple[Serialized, ...]]
    layers: tuple[ChangedLayer, ...]
    curves: Mapping[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    predicted: float | None = None
    measured: Outcome | None = None
    remarks: tuple[str, ...] = ()


# Is shown what goes through a layer in the network as it is, and in the one changed so far, by batch;
# returns other arrays of layers that have not run yet, its own among them, or None to leave them.
Visit = Callable[[Place, list[Batch], list[Batch]], Arrays | None]


class Observed(Protocol):
    """A network that runs, and inputs of it: some to calibrate on, others to judge by."""

    def gather(self, places: Sequence[Place], arrays: Arrays) -> dict[str, Any]:
        """Return what each kind gathered of the calibration inputs, by path (`Kind.gather`)."""
        ...

    def trial(self, arrays: Arrays, task: str) -> Outcome:
        """Return what the network does with other arrays in some layers, on held-out inputs."""
        ...

    def in_order(self, places: Sequence[Place], visit: Visit) -> None:
        """Run the calibration inputs through the network as it is, and as `visit` changes it layer by layer."""
        ...


# Loads a model file in its runtime with the inputs.
Observe = Callable[[ModelFile], Observed]
