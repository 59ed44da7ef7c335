"""What is measured before layers get narrower serves after it, and only near ways are finished."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

from lrcompress.compression.network import NetworkRequest, compress, stage
from lrcompress.compression.network.whole import _best
from lrcompress.live.network import Network, Networks
from lrcompress.modelfile import open_model


def _counted(monkeypatch: Any, made: list[str]) -> None:
    trial = Network.trial

    def counted(self: Network, arrays: Any, task: str) -> Any:
        made.append(task)
        return trial(self, arrays, task)

    monkeypatch.setattr(Network, "trial", counted)


def test_layers_are_tried_alone_once_though_others_get_narrower(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """A candidate that ran in the network is not run again in the narrower one."""
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
    # Half of the units say the same as the other half.
    kernel, bias = model.get_layer("wide").get_weights()
    kernel[:, 32:] = kernel[:, :32]
    model.get_layer("wide").set_weights([kernel, bias])
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
    tried: list[str] = []
    _counted(monkeypatch, tried)

    found = compress(
        open_model(tmp_path / "model.keras"),
        NetworkRequest(budget=("reduction", 0.5)),
        Networks(x[100:], x[:100]),
        tmp_path,
    )

    alone = [task for task in tried if ", " in task and not task.startswith("all")]
    assert any(change.form == "units" for change in found.layers)
    assert tried.count("as it is") == 2
    assert len(alone) == len(set(alone))
    # None after the network was loaded again.
    assert tried.index("as it is", 1) > max(map(tried.index, alone))


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


def test_a_way_far_behind_is_not_finished() -> None:
    """What loses much more than another way before kernels are corrected is left there; what is near is finished."""

    def way(before: float, after: float) -> Any:
        one = SimpleNamespace(measured=1, error=before, finished=False)

        def finish() -> None:
            one.error, one.finished = after, True

        one.finish = finish
        return one

    ways = [way(1.0, 0.9), way(1.05, 0.5), way(1.2, 0.1)]

    assert _best(ways) is ways[1]
    assert [one.finished for one in ways] == [True, True, False]

    lossless = way(-1e-37, -1e-37)
    assert _best([lossless]) is lossless
