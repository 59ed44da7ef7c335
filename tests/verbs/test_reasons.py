"""What is refused says the true reason and the way on; a choice of ours is never refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from lrcompress import factorize
from lrcompress.cli import main
from lrcompress.errors import KernelError, LRCompressError, ModelFileError

Json = dict[str, object]


def dense(name: str, units: int, activation: str = "linear") -> Json:
    """Return a serialized Dense."""
    config = {"name": name, "units": units, "activation": activation, "use_bias": False}
    return {"class_name": "Dense", "config": config}


def write(path: Path, layers: Sequence[Json], kernels: dict[str, np.ndarray], inputs: int) -> Path:
    """Write a Sequential model as HDF5."""
    first = {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, inputs]}}
    with h5py.File(path, "w") as file:
        config = {"class_name": "Sequential", "config": {"name": "m", "layers": [first, *layers]}}
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = b"3.8.0"
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array([n.encode() for n in kernels])
        for name, kernel in kernels.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/kernel:0".encode()])
            group[f"{name}/kernel:0"] = kernel
    return path


def draw(*shape: int) -> np.ndarray:
    """Return random float32 values."""
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def refusal(path: Path, **options: object) -> LRCompressError:
    """Return the error of a factorization."""
    with pytest.raises(LRCompressError) as caught:
        factorize(path, **options)  # type: ignore[arg-type]
    return caught.value


def test_the_default_is_capped_to_what_saves(tmp_path: Path) -> None:
    """A flat spectrum keeps 95 % above the break-even rank 14; the default then takes 14 and says so."""
    path = write(tmp_path / "flat.h5", [dense("d", 30)], {"d": draw(30, 30)}, 30)

    result = factorize(path, output=tmp_path / "out.h5")

    assert result.rank == 14
    assert "largest that saves anything" in result.layers[0].choice.message
    assert refusal(path, energy=0.99, output=tmp_path / "b.h5").code == "rank_saves_nothing"


def test_the_default_of_several_is_capped_too(tmp_path: Path) -> None:
    """Where 95 % of two kernels saves nothing, a tenth of the parameters goes, and a warning says so."""
    layers = [dense("a", 30, "relu"), dense("b", 30, "relu"), dense("c", 1)]
    kernels = {"a": np.eye(30, dtype="float32"), "b": np.eye(30, dtype="float32"), "c": draw(30, 1)}
    path = write(tmp_path / "flat.h5", layers, kernels, 30)

    result = factorize(path, layers="dense", output=tmp_path / "out.h5")

    assert result.network is not None
    assert result.network.budget == {"name": "reduction", "value": 0.1, "default": True}
    assert result.parameters_after <= 0.9 * result.parameters_before
    assert any("saves nothing" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("hidden", "command"), [(["a"], "--layer a"), (["a", "b"], "--layers dense")]
)
def test_a_head_of_one_unit_names_what_is_worth_it(
    tmp_path: Path, hidden: list[str], command: str
) -> None:
    """The one line holds the layers and the command, which then works."""
    layers = [*(dense(name, 20, "relu") for name in hidden), dense("last", 1)]
    kernels = {name: draw(20, 20) for name in hidden} | {"last": draw(20, 1)}
    path = write(tmp_path / "my model.h5", layers, kernels, 20)

    error = refusal(path)

    assert error.code == "nothing_to_gain"
    assert str(error).endswith(f"lrcompress factorize '{path}' {command}")
    done = CliRunner().invoke(
        main, ["factorize", str(path), *command.split(), "-o", str(tmp_path / "o.h5")]
    )
    assert done.exit_code == 0, done.output


def test_nothing_anywhere_says_so(tmp_path: Path) -> None:
    """Without a layer that is worth it there is no command to give."""
    path = write(tmp_path / "one.h5", [dense("last", 1)], {"last": draw(50, 1)}, 50)

    assert "Nor can any other Dense layer of it" in str(refusal(path))
    assert refusal(path, layers="dense").code == "nothing_to_gain"


@pytest.mark.parametrize(
    ("config", "code", "word"),
    [
        ({"class_name": "MyModel", "config": {}}, "subclassed", "subclassed"),
        ({"class_name": "Sequential", "config": {"name": "m", "layers": []}}, "no_dense", "no Dense"),
        (
            {"class_name": "Sequential", "config": {"name": "m", "layers": [
                {"class_name": "TimeDistributed", "config": {"name": "steps", "layer": {
                    "class_name": "Sequential", "config": {"name": "i", "layers": [dense("d", 9)]}}}}
            ]}}, "no_dense", "inside steps",
        ),
    ],
)  # fmt: skip
def test_every_dense_says_the_true_reason(
    tmp_path: Path, config: Json, code: str, word: str
) -> None:
    """No file without a Dense is told that its Dense layers are too small."""
    path = write(tmp_path / "m.h5", [], {}, 4)
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = json.dumps(config)

    for options in ({"layers": "dense"}, {}):
        error = refusal(path, **options)
        assert error.code == code
        assert word in str(error)


def test_a_dense_that_does_not_fit_its_weights_is_the_reason(tmp_path: Path) -> None:
    """The only Dense is broken: that is said."""
    path = write(tmp_path / "m.h5", [dense("d", 21)], {"d": draw(20, 20)}, 20)

    assert "do not fit its architecture" in str(refusal(path, layers="dense", rank=2))
    assert refusal(path, layers="dense").code == "nothing_to_gain"


def test_one_dense_of_nan_is_left_out(tmp_path: Path) -> None:
    """The others are factorized; named, or alone, it is refused with the layer named once."""
    bad = draw(20, 20)
    bad[3, 4] = np.nan
    layers = [dense("a", 20, "relu"), dense("b", 20, "relu"), dense("c", 20, "relu")]
    kernels = {"a": draw(20, 20), "b": bad, "c": draw(20, 20) + 1}
    path = write(tmp_path / "m.h5", layers, kernels, 20)

    result = factorize(path, layers="dense", rank=2, output=tmp_path / "o.h5")

    assert [layer.path for layer in result.layers] == ["a", "c"]
    assert any("Layer b is left as it is" in line for line in result.warnings)
    error = refusal(path, layer="b", rank=2)
    assert isinstance(error, KernelError)
    assert str(error).count("Layer 'b'") == 1


def test_sharded_weights_have_their_own_reason(tmp_path: Path) -> None:
    """The JSON beside the shards is no archive, and says what is missing."""
    path = tmp_path / "model.weights.json"
    path.write_text('{"metadata": {}, "weight_map": {}}')

    error = refusal(path)

    assert isinstance(error, ModelFileError)
    assert "sharded weights" in str(error)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["decompose", "m.h5"], 2, "'factorize'"),
        (["factorize", "{}", "--layers", "dens"], 1, "Did you mean 'dense'?"),
        (["factorize", "{}", "--layers", "all", "--synthetic", "off"], 2, "say 'no'"),
        (["help"], 0, "Commands"),
        (["help", "factorize"], 0, "--rank"),
        (["export", "{}", "--format", "tflit"], 2, "'litert'"),
    ],
)
def test_what_users_say_is_understood(
    tmp_path: Path, arguments: list[str], code: int, word: str
) -> None:
    """Other words for ours are taken, or the message names ours."""
    path = write(tmp_path / "m.h5", [dense("d", 20)], {"d": draw(20, 20)}, 20)

    done = CliRunner().invoke(main, [a.format(path) for a in arguments])

    assert done.exit_code == code
    assert word in done.output + done.stderr


def test_tflite_is_litert() -> None:
    """The old name of the format is another name of it."""
    from lrcompress.cli.commands.export import command

    option = next(p for p in command.params if p.name == "format")

    assert option.type.convert("tflite", option, None) == "litert"


def test_bytes_without_a_type_are_not_called_quantized(tmp_path: Path) -> None:
    """Keras writes bfloat16 to HDF5 as two bytes of nothing; with the attribute it is read."""
    path = write(tmp_path / "m.h5", [dense("d", 20)], {"d": draw(20, 20)}, 20)
    kernel = (draw(20, 20).view(np.uint32) >> 16).astype(np.uint16).view("V2")
    with h5py.File(path, "a") as file:
        del file["model_weights/d/d/kernel:0"]
        file["model_weights/d/d/kernel:0"] = kernel

    assert "bfloat16" in str(refusal(path, rank=2))

    with h5py.File(path, "a") as file:
        file["model_weights/d/d/kernel:0"].attrs["dtype"] = "bfloat16"
    result = factorize(path, rank=2, output=tmp_path / "o.h5")
    assert result.layers[0].dtype == "bfloat16"
