"""Networks to train from random weights: the paper's, a small one of their shape for `digits`, or a user's own.

Each `build` takes the rank of the final layer, None for full rank, and returns a compiled model
whose last layer is named `predictions`, with `predictions_lowrank` before it where there is a rank.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
from keras import layers

from lrcompress.data.dataset import Dataset
from lrcompress.data.in_memory import imported
from lrcompress.errors import RankError, TrainingError, one_line
from lrcompress.live import engine, storing
from lrcompress.live.compiling import compile_without_slots
from lrcompress.live.outputs import outputs_of
from lrcompress.live.prepare import prepare
from lrcompress.lowrank import parameters
from lrcompress.modelfile import find_head, open_model
from lrcompress.studies.request import BATCH_SIZE, EPOCHS, is_model_file

# From a model and a rank to the model with its final Dense made two.
Narrow = Callable[[Any, int], Any]
Build = Callable[[int | None], Any]


@dataclass(frozen=True)
class Recipe:
    """One network, with a final layer of m inputs and n outputs, and how it is trained."""

    build: Build  # from the rank (None for full) to a compiled model
    features: int  # m
    classes: int  # n
    ranks: tuple[int | None, ...]  # the published ones; None is full rank
    epochs: int
    scaling: str
    batch_size: int = BATCH_SIZE
    # Parameters outside the final layer, counted by the paper's rule; None for other networks.
    paper_base: int | None = None
    # Rank to (error in %, its parameter count, its seconds).
    published: Mapping[int | None, tuple[float, int, int]] = field(default_factory=dict)
    use_bias: bool = True  # of the final layer
    network: str | None = None  # what names a user's own

    def lasting(self, epochs: int | None, batch_size: int | None) -> Recipe:
        """Return the recipe with other epochs and batches, where these are given."""
        size = batch_size or self.batch_size
        return replace(self, epochs=epochs or self.epochs, batch_size=size)

    def settings(self, dataset: str) -> dict[str, Any]:
        """Return what decides the numbers of a table: rows of equal settings may stand in one."""
        own = {} if self.network is None else {"network": self.network, "scaling": self.scaling}
        return {"dataset": dataset, "epochs": self.epochs, "batch_size": self.batch_size, **own}

    def layer_parameters(self, rank: int | None) -> int:
        """Return the true count of the final layer, one or two Dense layers, bias included."""
        m, n = self.features, self.classes
        return parameters(m, n, rank) + (n if self.use_bias else 0)

    def paper_parameters(self, rank: int | None) -> int | None:
        """Return the count by the paper's rule, None for a network that is not the paper's."""
        # It leaves out the first convolution and every bias, and counts Flatten -> Dense as channels x units.
        # MNIST: 17,408 + 266 r (full 19,968, printed 19,962); CIFAR-100: 97,280 + 612 r (full 148,480).
        if self.paper_base is None:
            return None
        return self.paper_base + parameters(self.features, self.classes, rank)

    def check_rank(self, rank: int) -> None:
        """Refuse a rank that the final layer cannot have."""
        most = min(self.features, self.classes)
        if not 1 <= rank <= most:
            shape = f"{self.features} x {self.classes}"
            msg = (
                f"Rank {rank} does not fit a final layer of {shape}; expected 1 to {most}, or full."
            )
            raise RankError(msg)


def two_convolutions(name: str, shape: tuple[int, ...], filters: int, rank: int | None) -> Any:
    """Return the MNIST network, or a small one of its shape for other images."""
    body = [
        layers.Conv2D(filters, 3, activation="relu"),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.25),
    ]
    return _network(name, shape, body, 256, 10, rank, keras.optimizers.Adam())


def cifar100(rank: int | None) -> Any:
    """Return the CIFAR-100 network: 1,297,028 parameters at full rank."""
    body = []
    for filters in (32, 64):
        body += [
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.Conv2D(filters, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
        ]
    # "RMSprop, learning rate 1e-4, decay 1e-6" of Keras 2: rate / (1 + decay * steps).
    rate = keras.optimizers.schedules.InverseTimeDecay(1e-4, decay_steps=1, decay_rate=1e-6)
    optimizer = keras.optimizers.RMSprop(rate)
    return _network("cifar100_cnn", (32, 32, 3), body, 512, 100, rank, optimizer)


def _network(
    name: str, shape: tuple[int, ...], body: list[Any], hidden: int, classes: int,
    rank: int | None, optimizer: Any,
) -> Any:  # fmt: skip
    """Return a compiled network: convolutions, a hidden layer, and a softmax of one Dense or two."""
    low = [] if rank is None else [layers.Dense(rank, use_bias=False, name="predictions_lowrank")]
    head = [
        layers.Flatten(), layers.Dense(hidden, activation="relu"), layers.Dropout(0.5), *low,
        layers.Dense(classes, activation="softmax", name="predictions"),
    ]  # fmt: skip
    model = keras.Sequential([keras.Input(shape), *body, *head], name=name)
    model.compile(
        optimizer,
        "categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=engine.jit_compile(),
    )
    return model


RECIPES = {
    "mnist": Recipe(
        build=partial(two_convolutions, "mnist_cnn", (28, 28, 1), 32),  # 1,192,042 parameters
        features=256,
        classes=10,
        ranks=(None, 8, 6, 4, 2, 1),
        epochs=10,
        scaling="/255",
        paper_base=9_216 + 8_192,
        published={
            None: (0.99, 19_962, 1170),
            8: (1.18, 19_536, 926),
            6: (1.01, 19_004, 885),
            4: (1.14, 18_472, 893),
            2: (6.94, 17_940, 875),
            1: (7.33, 17_674, 815),
        },
    ),
    "cifar100": Recipe(
        build=cifar100,
        features=512,
        classes=100,
        ranks=(None, 75, 60, 40, 20, 10, 1),
        epochs=50,
        scaling="/255",
        paper_base=9_216 + 18_432 + 36_864 + 32_768,
        published={
            None: (56.38, 148_480, 8174),
            75: (58.11, 143_180, 7860),
            60: (59.04, 134_000, 7656),
            40: (61.44, 121_760, 7693),
            20: (66.10, 109_520, 7788),
            10: (75.62, 103_400, 7750),
            1: (96.97, 97_872, 7668),
        },
    ),
    "digits": Recipe(
        build=partial(two_convolutions, "digits_cnn", (8, 8, 1), 16),  # 40,394 parameters
        features=256,
        classes=10,
        ranks=(None, 8, 6, 4, 2, 1),
        epochs=20,
        scaling="/16",
        paper_base=16 * 32 * 9 + 32 * 256,
    ),
}


def own_recipe(
    model: str | Path, data: Dataset, narrow: Narrow, scaling: str | None = None
) -> Recipe:
    """Return how a user's own network is built and trained; see `lrcompress.train_from_scratch`."""
    if is_model_file(model):
        opened, original = open_model(Path(model)), storing.load_model(Path(model))
        head = find_head(opened)
        build = _from_model(original, narrow)
        said = scaling or opened.origin.scaling_of(data.name)
        scaling = prepare(data, original, scaling=said).scaling.name
    else:
        build = _from_function(str(model), narrow)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            storing.save_model(build(None), path, None)
            head = find_head(open_model(path))
        is_bytes = not isinstance(data.x_train, dict) and data.x_train.dtype == "uint8"
        scaling = scaling or ("/255" if is_bytes else "as-is")
    m, n = head.kernel_shape
    name, bias = Path(model).name, head.use_bias
    return Recipe(build, m, n, (None,), EPOCHS, scaling, use_bias=bias, network=name)


def _from_function(spec: str, narrow: Narrow) -> Build:
    """Return what builds a compiled network of a rank, None for full, by a user's function."""
    # The final Dense of what a function returns that takes no rank is made low-rank here.
    where = "a model file, or package.module:function importable from the current directory"
    function = imported(spec, partial(TrainingError, code="own_network"), where)
    takes_rank = _takes_rank(function)

    def build(rank: int | None) -> Any:
        try:
            model = function(rank) if takes_rank else function()
        except Exception as error:  # whatever the user's own code says
            msg = f"{spec} failed ({type(error).__name__}: {one_line(error)}); expected it to return a Keras model."
            raise TrainingError(msg, code="own_network") from error
        if not isinstance(model, keras.Model):
            msg = f"{spec} returned {type(model).__name__}; expected a Keras model."
            raise TrainingError(msg, code="own_network")
        if rank is not None and not takes_rank:
            return reinitialized(narrow(model, rank))
        return _ready(model)

    return build


def _from_model(model: Any, narrow: Narrow) -> Build:
    return lambda rank: reinitialized(model if rank is None else narrow(model, rank))


def reinitialized(model: Any) -> Any:
    """Return a compiled copy of a model whose weights are drawn anew from its own initializers."""
    compiled = model.get_compile_config() if model.compiled else None
    try:
        twin = keras.models.clone_model(model)
    except Exception as error:  # a layer's own from_config may raise anything
        msg = (
            f"Model {model.name} cannot be rebuilt from its config ({one_line(error)}); "
            "give module:function instead."
        )
        raise TrainingError(msg, code="own_network") from error
    for old, new in zip(model._flatten_layers(), twin._flatten_layers(), strict=True):
        # Those that training would not change keep their weights: frozen, or adapted to data.
        is_leaf = not getattr(old, "layers", None)
        if is_leaf and old.weights and (not old.trainable or hasattr(old, "adapt")):
            new.set_weights(old.get_weights())
            if hasattr(new, "finalize_state"):
                # What Normalization computes with is made from its weights once.
                new.finalize_state()
    twin.compiled = False
    if compiled:
        compile_without_slots(twin, {**compiled, "jit_compile": engine.jit_compile()})
    return _ready(twin)


def _ready(model: Any) -> Any:
    """Return the model, compiled with Adam and cross-entropy if it is not compiled."""
    if not model.compiled or model.optimizer is None or model.loss is None:
        entropy = keras.losses.SparseCategoricalCrossentropy
        if model.outputs[0].shape[-1] == 1:
            entropy = keras.losses.BinaryCrossentropy
        loss = entropy(from_logits=outputs_of(model)[0].is_logits)
        model.compile(keras.optimizers.Adam(), loss, jit_compile=engine.jit_compile())
    return model


def _takes_rank(function: Callable[..., Any]) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    if first is None or first.kind not in kinds:
        return False
    return first.name == "rank" or first.default is inspect.Parameter.empty
