"""What the verbs return: told in one line, in a notebook in a small table, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from lrcompress.lowrank import Factors
    from lrcompress.records.network import ChangedLayer, Network

# Of every document but the results of `train-from-scratch`.
SCHEMA_VERSION = 1


class Document:
    """A result that is also a document of JSON, or a part of one."""

    HEAD: ClassVar[dict[str, Any]] = {}
    # The attributes that it holds, where these are not all of the fields, or all but some.
    KEYS: ClassVar[tuple[str, ...]] = ()
    LIVE: ClassVar[tuple[str, ...]] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints."""
        keys = self.KEYS or [key for key in vars(self) if key not in self.LIVE]
        return self.HEAD | {key: _json(getattr(self, key)) for key in keys}


def _json(value: Any) -> Any:  # noqa: ANN401
    from msgspec import to_builtins

    if isinstance(value, Document):
        return value.to_json()
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return to_builtins(value, str_keys=True, enc_hook=_plain)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return a path, or a number of NumPy's, as JSON has it."""
    return str(value) if isinstance(value, Path) else value.item()


class Shown(Document):
    """A result that tells itself in one line, and in a notebook in a small table."""

    HEAD: ClassVar[dict[str, Any]] = {"schema_version": SCHEMA_VERSION}

    def facts(self) -> dict[str, str]:
        """Return what is told, by name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return the facts in one line."""
        told = ", ".join(f"{name} {text}" for name, text in self.facts().items())
        return f"<{type(self).__name__}: {told}>"

    def _repr_html_(self) -> str:
        """Return the facts as a table, which a notebook shows."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(text)}</td></tr>"
            for name, text in self.facts().items()
        )
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"


def figure_of(figures: dict[str, Any] | None) -> str:
    """Return the main figure of what an evaluation found, in a few words."""
    if figures is None:
        return "not measured"
    measure = figures["measure"]
    if measure == "outputs":
        return f"loss {figures['loss']:.4g}"
    return f"{measure.replace('_', ' ')} {figures[measure]:.4g}"


@dataclass(frozen=True)
class RankChoice:
    """A rank and how it came about.

    Attributes:
        rank: The rank.
        rule: What decided it.
        asked: The value asked for: a rank, a share in (0, 1], or percentage points.
        default: Whether the user left the choice to us.
        found: The measure at this rank and its neighbours, by rank.
        message: One sentence for people.
    """

    rank: int
    rule: str
    asked: float
    default: bool
    found: dict[int, float]
    message: str


@dataclass(frozen=True)
class LayerResult(Document):
    """One Dense layer that became two.

    Attributes:
        name: The layer's name, kept by the second of the two.
        path: The name behind those of the nested models the layer stands in.
        first_name: Name of the new first layer.
        kernel_shape: (m, n) of the original kernel.
        dtype: Of the stored kernel and its factors.
        activation: Kept on the second layer.
        softmax: Whether softmax along the classes is what follows.
        rank: r.
        choice: How the rank was chosen.
        method_reason: Why the method of `factors`, in a few words.
        parameters_before: m n, and n where there is a bias.
        parameters_after: r (m + n), and n where there is a bias.
        factors: `lrcompress.Factors`: B (m, r), C (r, n), bias and certificate.
        certified: What the certificate says, and an outline of the spectrum; see docs/run-record.md.
        is_head: Whether it makes predictions; a hidden layer otherwise.
    """

    KEYS = (
        "name", "path", "first_name", "is_head", "kernel_shape", "dtype", "activation", "softmax", "rank",
        "rank_choice", "method", "method_reason", "parameters_before", "parameters_after",
    )  # fmt: skip

    name: str
    path: str
    first_name: str
    kernel_shape: tuple[int, int]
    dtype: str
    activation: str
    softmax: bool
    rank: int
    choice: RankChoice
    method_reason: str
    parameters_before: int
    parameters_after: int
    factors: Factors = field(repr=False)
    certified: dict[str, Any] = field(repr=False)
    is_head: bool = True

    @property
    def rank_choice(self) -> RankChoice:
        """How the rank was chosen, as documents call it."""
        return self.choice

    @property
    def method(self) -> str:
        """By which the factors were found."""
        return str(self.factors.method)

    def to_json(self) -> dict[str, Any]:
        """Return what a script reads: no arrays but an outline of the spectrum."""
        return super().to_json() | self.certified


@dataclass(repr=False)
class FactorizeResult(Shown):
    """What `factorize` did.

    Attributes:
        input: The original file, untouched; None for a model in memory.
        output: The compressed file; None for a model in memory, unless one was asked for.
        record: Its run record, likewise.
        method: svd, centered, whitened, weighted or refined; "several" where layers differ.
        method_reason: Why this method, in a few words.
        layers: One entry a factorized layer; of a whole network `ChangedLayer`, which have no `factors`.
        parameters_before: Of the whole model.
        parameters_after: Of the whole model.
        bytes_before: File size, optimizer state included.
        bytes_after: File size.
        optimizer_bytes: Stored optimizer state of the original, in `bytes_before`; no part of what
            the factorization saves.
        optimizer_bytes_after: What of it the compressed file still holds, in `bytes_after`; 0 where
            it was dropped.
        warnings: What the user should know.
        seconds: Wall time of the parts.
        error_rate_before: Of the original on the test data, in percent; None without data, and for
            models that are not classifiers with one output.
        error_rate_after: Of the compressed model.
        measured_before: All that was measured of the original on the test data, the key ``measure``
            naming the main figure; None without data.
        measured_after: The same of the compressed model.
        drop: The second against the first, paired on the same samples, see docs/run-record.md.
        modernized: What was put in the terms of Keras 3, a line each; empty unless asked for.
        network: How the layers of a whole network were chosen, and what was measured; None for single ones.
        model: The compressed Keras model, where the input was a model in memory.
    """

    KEYS = (
        "input", "output", "record", "rank", "method", "method_reason", "layers",
        "parameters_before", "parameters_after", "bytes_before", "bytes_after",
        "optimizer_bytes", "optimizer_bytes_after", "error_rate_before", "error_rate_after",
        "measured_before", "measured_after", "drop", "warnings", "modernized", "seconds", "network",
    )  # fmt: skip

    input: Path | None
    output: Path | None
    record: Path | None
    method: str
    method_reason: str
    layers: list[LayerResult] | list[ChangedLayer]
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    optimizer_bytes: int
    optimizer_bytes_after: int
    warnings: list[str]
    seconds: dict[str, float]
    error_rate_before: float | None = None
    error_rate_after: float | None = None
    measured_before: dict[str, Any] | None = None
    measured_after: dict[str, Any] | None = None
    drop: dict[str, Any] | None = None
    modernized: list[str] = field(default_factory=list)
    network: Network | None = None
    model: Any = None

    @property
    def rank(self) -> int:
        """Rank of the first layer, which is the only one unless several were named."""
        return self.layers[0].rank

    @property
    def factors(self) -> Factors:
        """Factors of the first layer, where its kernel alone was factorized."""
        return self.layers[0].factors  # type: ignore[union-attr]

    def facts(self) -> dict[str, str]:
        """Return what was made, and what it costs."""
        names = ", ".join(f"{layer.path} at rank {layer.rank}" for layer in self.layers)
        found = {
            "layers": names if self.network is None else str(len({x.path for x in self.layers})),
            "method": self.method,
            "parameters": f"{self.parameters_before:,} to {self.parameters_after:,}",
        }
        if self.measured_before is not None:
            both = (self.measured_before, self.measured_after)
            found["test data"] = " to ".join(map(figure_of, both))
        return found | {"output": str(self.output or "in memory")}


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

    LIVE = ("model",)

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

    def to_record(self) -> dict[str, Any]:
        """Return what the run record keeps of it, beside the stages, which hold figures and files."""
        stages = {"input", "output", "record", "original", "before", "after", "trained"}
        return {key: value for key, value in self.to_json().items() if key not in stages}
