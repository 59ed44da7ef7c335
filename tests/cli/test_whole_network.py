"""What the commands show of all layers of a network, not only of the final one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]


def test_inspect_tells_what_each_layer_would_save(run: Run, examples: Path) -> None:
    """Each layer with a form stands there with what a quarter of its size saves, the others with a reason."""
    model = examples / "digits_cnn.keras"

    document = json.loads(run("inspect", model, "--json").stdout)

    places = {place["path"]: place for place in document["places"]}
    dense = places["dense"]
    assert dense["kind"] == "Dense"
    assert dense["parameters"] == 128 * 256 + 256
    assert dense["forms"]["rank"] == 128
    assert dense["quarter"]["parameters_saved"] >= 128 * 256 - 32 * 384
    assert dense["quarter"]["model_reduction"] == (
        dense["quarter"]["parameters_saved"] / document["parameters"]
    )
    assert not set(places) & set(document["refused"])
    text = run("inspect", model).stdout
    assert "What a quarter of each layer's size would save" in text
    assert f"lrcompress factorize {model} --layers all" in text


def test_inspect_says_why_layers_stay(run: Run, tmp_path: Path, examples: Path) -> None:
    """Layers that cannot be factorized are told by reason, with their names."""
    import h5py

    model = tmp_path / "model.h5"
    model.write_bytes((examples / "digits_cnn.h5").read_bytes())
    with h5py.File(model, "r+") as file:
        config = file.attrs["model_config"]
        text = config if isinstance(config, str) else config.decode()
        file.attrs["model_config"] = text.replace('"Conv2D"', '"OwnConv"')

    done = run("inspect", model)

    assert done.exit_code == 0
    assert "layers that cannot be factorized:" in done.stdout
    assert "OwnConv" in done.stdout.split("layers that cannot be factorized:")[1]
