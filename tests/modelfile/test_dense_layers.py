"""What is known of a Dense layer, and which ones cannot be factorized."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from lrcompress.modelfile import ModelFile, find_head, open_model
from tests.modelfile.models import refusal

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker


def test_the_head_is_described_in_full(small: ModelFile) -> None:
    """Name, shape, type, bias and activation of the final Dense are read from the file."""
    head = find_head(small)

    assert (head.name, head.path, head.kernel_shape) == ("probs", "probs", (8, 5))
    assert (head.dtype, head.use_bias, head.activation) == ("float32", True, "softmax")
    assert (head.softmax, head.following, head.per_step) == (True, (), False)


@pytest.mark.parametrize(
    ("own", "after", "expected"),
    [
        ("softmax", [], True),
        ({"class_name": "function", "config": "softmax"}, [], True),
        ("linear", [("Softmax", {})], True),
        ("linear", [("Softmax", {"axis": 1})], True),
        ("linear", [("Softmax", {"axis": 0})], False),
        ("linear", [("Dropout", {}), ("Activation", {"activation": "softmax"})], True),
        ("linear", [("BatchNormalization", {}), ("Softmax", {})], False),
        ("relu", [("Softmax", {})], False),
        (None, [("Activation", {"activation": "relu"})], False),
    ],
)
def test_softmax_is_seen_where_it_acts_on_the_kernel(
    chain: Callable[..., ModelFile], make: Maker, own: Any, after: Any, expected: Any
) -> None:
    """Softmax counts as the head's where nothing but dropout stands between it and the kernel."""
    layers = [make.layer(name, f"after{i}", **config) for i, (name, config) in enumerate(after)]

    assert find_head(chain(*layers, activation=own)).softmax is expected


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"dtype": "int8_from_float32"}, "quantized"),
        (
            {"dtype": {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}},
            "quantized",
        ),
        ({"quantization_config": {"class_name": "Int8QuantizationConfig"}}, "quantized"),
        ({"lora_rank": 4}, "lora"),
        ({"units": 7}, "config"),
        ({"use_bias": False}, "config"),
    ],
)
def test_a_kernel_that_is_not_the_whole_layer_is_refused(
    chain: Callable[..., ModelFile], config: Any, code: str
) -> None:
    """Quantized layers, LoRA, and weights that contradict the config are not factorized."""
    model = chain(**config)

    assert refusal(model).code == code
    assert model.sites == ()


def test_a_policy_by_dictionary_is_not_quantized(chain: Callable[..., ModelFile]) -> None:
    """The plain policies of Keras 3 are dictionaries too."""
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}

    assert find_head(chain(dtype=policy)).name == "probs"


def test_a_dense_over_sequences_is_per_step(make: Maker) -> None:
    """The rank of the input is read off the layers before."""
    layers = [
        make.layer("InputLayer", "x", batch_shape=[None, 4, 6]),
        make.layer("LSTM", "rnn", return_sequences=True, units=6),
        make.layer("Dropout", "drop"),
        make.dense("probs", 5),
    ]
    model = open_model(make.hdf5(make.sequential(*layers), {"probs": make.pair("probs", 6, 5)}))

    assert find_head(model).per_step is True


def test_a_time_distributed_dense_is_a_head(make: Maker) -> None:
    """The wrapper's name is the layer's name; its kernel is the wrapped one's."""
    wrapper = make.layer("TimeDistributed", "td", layer=make.dense("inner", 5))
    layers = [make.layer("InputLayer", "x", batch_shape=[None, 4, 6]), wrapper]
    model = open_model(make.hdf5(make.sequential(*layers), {"td": make.pair("td", 6, 5)}))

    head = find_head(model)

    assert (head.name, head.kernel_shape, head.per_step) == ("td", (6, 5), True)


def test_a_dense_that_leads_nowhere_is_not_offered(make: Maker) -> None:
    """Keras drops layers that no output depends on; so their place would be none."""
    links = [
        (make.input(), []),
        (make.dense("used", 6), ["x"]),
        (make.dense("lost", 6), ["x"]),
    ]
    weights = {name: make.pair(name, 6, 6) for name in ("used", "lost")}
    model = open_model(make.hdf5(make.functional(links, ["used"]), weights))

    assert [layer.name for layer in model.sites] == ["used"]
    assert refusal(model, "lost").code == "config"


def test_an_object_shared_between_models_is_refused(make: Maker) -> None:
    """One object in two nested models is stored once; splitting one place would break the other."""
    shared = make.dense("same", 6) | {"shared_object_id": 7}
    inner = [make.sequential(make.input(f"i{n}"), shared, name=n) for n in "ab"]
    config = make.sequential(make.input(), *inner)
    model = open_model(
        make.keras(
            config,
            {
                "layers/sequential/layers/dense/vars/0": make.array(6, 6),
                "layers/sequential/layers/dense/vars/1": make.array(6),
            },
        )
    )

    assert refusal(model, "a/same").code == "shared_dense"
