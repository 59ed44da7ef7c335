"""What is measured before layers get narrower serves after it; of several ways to choose the best is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from lrcompress.compression.network import Compressed, NetworkRequest, compress, stage, whole
from lrcompress.live.network import Network, Networks
from lrcompress.modelfile import open_model, write_changed


def _counted(monkeypatch: Any, made: list[str]) -> None:
    trial = Network.trial

    def counted(self: Network, arrays: Any, task: str) -> Any:
        made.append(task)
        return trial(self, arrays, task)

    monkeypatch.setattr(Network, "trial", counted)


def _of_twins(folder: Path) -> Path:
    """Write a network of which half of the first layer's units say the same as the other half."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(64, activation="relu", name="wide"),
            layers.Dense(48, activation="relu", name="next"),
            layers.Dense(4, activation="softmax", name="head"),
        ]
    )
    kernel, bias = model.get_layer("wide").get_weights()
    kernel[:, 32:] = kernel[:, :32]
    model.get_layer("wide").set_weights([kernel, bias])
    model.save(folder / "model.keras")
    return folder / "model.keras"


def _made(path: Path, reduction: float, folder: Path) -> Compressed:
    """Return a network made smaller by 300 inputs, judged by 100 others."""
    x = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
    folder.mkdir()
    request = NetworkRequest(budget=("reduction", reduction))
    return compress(open_model(path), request, Networks(x[100:], x[:100]), folder)


def test_layers_are_tried_alone_once_though_others_get_narrower(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """A candidate that ran in the network is not run again in the narrower ones."""
    tried: list[str] = []
    _counted(monkeypatch, tried)

    found = _made(_of_twins(tmp_path), 0.5, tmp_path / "made")

    alone = [task for task in tried if ", " in task and not task.startswith("all")]
    assert any(change.form == "units" for change in found.layers)
    # The network, and one narrower for each weight.
    assert tried.count("as it is") == 1 + len(whole._WEIGHTS)
    assert len(alone) == len(set(alone))
    # None after the network was loaded again.
    assert tried.index("as it is", 1) > max(map(tried.index, alone))


def test_of_several_ways_to_choose_the_best_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    """What narrower layers lose is weighed more and less; what loses least with all of it done is the result."""
    path = _of_twins(tmp_path)

    best = _made(path, 0.85, tmp_path / "best")

    single = []
    for weight in whole._WEIGHTS:
        monkeypatch.setattr(whole, "_WEIGHTS", (weight,))
        single.append(_made(path, 0.85, tmp_path / f"{weight}"))
    assert best.measured is not None
    errors = [made.measured.output_error for made in single if made.measured is not None]
    assert best.measured.output_error == min(errors) < max(errors)


def test_what_a_relu_stops_is_not_imitated(tmp_path: Path, monkeypatch: Any) -> None:
    """A layer before a ReLU need not give what that stops: the outputs are nearer where it does not."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([keras.Input((12,))])
    for units in (24, 24, 24):
        model.add(layers.Dense(units, activation="relu"))

    model.add(layers.Dense(6))
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(1200, 12)).astype(np.float32)
    request = NetworkRequest(budget=("reduction", 0.5))

    def error(name: str) -> float:
        (tmp_path / name).mkdir()
        networks = Networks(x[200:], x[:200])
        found = compress(open_model(tmp_path / "model.keras"), request, networks, tmp_path / name)
        assert found.measured is not None
        return found.measured.output_error

    relaxed = error("relaxed")
    monkeypatch.setattr(stage, "_RELAXED", 0)

    assert relaxed < error("exact")


def test_a_file_size_is_reached_where_no_layer_gets_narrower(tmp_path: Path) -> None:
    """Files are tried on the way, also of networks that no narrower one is made of."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(48, activation="softmax")])
    path = tmp_path / "model.keras"
    model.save(path)
    size = path.stat().st_size - 4_000
    request = NetworkRequest(budget=("target_size", size))

    found = compress(open_model(path), request, None, tmp_path)

    assert [change.form for change in found.layers] == ["rank"]
    assert write_changed(found.model, found.edits, tmp_path / "small.keras").size <= size
