"""Small networks, one layer of which gets narrower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from lrcompress.compression.network.candidates import multiplications_now
from lrcompress.kinds import Arrays, Batch, Place, Solution
from lrcompress.modelfile import open_model
from lrcompress.modelfile.places import find_places

SAMPLES = 300


class Network:
    """A small network, and the form `units` of its layer `own`."""

    def __init__(self, made: list[Any], folder: Path, change: Any = None) -> None:
        """Build it anew, and change the arrays of `own`."""
        rng = np.random.default_rng(0)
        self.model = keras.Sequential(made)
        for layer in self.model.layers:
            changes = [rng.normal(0, 0.3, w.shape) for w in layer.get_weights()]
            if layer.name == "n":  # no negative variances
                changes = [np.abs(change) for change in changes]
            layer.set_weights(list(map(np.add, layer.get_weights(), changes)))
        own = self.model.get_layer("own")
        for layer in self.model.layers:
            if change is not None and layer.name in ("own", "n"):
                layer.set_weights(change(layer.get_weights()))
        shape = self.model.input_shape[1:]
        low = rng.normal(size=(SAMPLES, 4)) @ rng.normal(size=(4, int(np.prod(shape))))
        noise = rng.normal(size=(SAMPLES, int(np.prod(shape))))
        self.x = (low + 0.1 * noise).reshape(SAMPLES, *shape).astype("f4")
        path = folder / "m.keras"
        self.model.save(path)
        self.place: Place = find_places(open_model(path)).known["own"]
        self.arrays: Arrays = {
            layer.name: tuple(layer.get_weights()) for layer in self.model.layers if layer.weights
        }
        kind = self.place.kind
        assert kind is not None
        found = [f for f in kind.forms(self.place) if f.narrows]
        (self.form,) = found
        masked = any(isinstance(layer, keras.layers.Masking) for layer in self.model.layers)
        mask = np.ones(self.x.shape[:2], bool) if masked else None
        if mask is not None:
            for sample, length in enumerate(rng.integers(2, self.x.shape[1] + 1, SAMPLES)):
                self.x[sample, length:], mask[sample, length:] = 0, False
        taken = own.input[0] if isinstance(own.input, list) else own.input  # with its mask
        front = keras.Model(self.model.inputs[0], [taken, own.output])
        given, output = (np.asarray(a) for a in front(self.x))
        self.output = np.asarray(self.model(self.x))
        self.seen = kind.gather(self.place, self.arrays, Batch((given,), output, mask), None)

    def in_place(self, solution: Solution) -> Any:
        """Return what the network gives with other arrays."""
        for path, arrays in solution.in_place().items():
            self.model.get_layer(path).set_weights(list(arrays))
        found = np.asarray(self.model(self.x))
        for path, arrays in self.arrays.items():
            self.model.get_layer(path).set_weights(list(arrays))
        return found

    def built(self, solution: Solution) -> tuple[Any, int]:
        """Return what the stock layers give, and how many weights they have."""
        edits, made, count = solution.layers(), [], 0
        for layer in self.model.layers:
            config = layer.get_config()
            if layer.name in edits:
                (edit,) = edits[layer.name]
                if isinstance(layer, keras.layers.TimeDistributed):
                    inner = config["layer"] | {"config": edit.config, "build_config": None}
                    config |= {"layer": inner}
                else:
                    config = edit.config
                count += sum(np.size(array) for array in edit.arrays)
            made.append(type(layer).from_config(config))
        model = keras.Sequential([keras.Input(self.model.input_shape[1:]), *made])
        for layer in model.layers:
            arrays = edits[layer.name][0].arrays if layer.name in edits else None
            if layer.weights:
                layer.set_weights(list(arrays or self.arrays[layer.name]))
        return np.asarray(model(self.x)), count

    def lost(self, solution: Solution) -> float:
        """Return the relative squared error of the network's output."""
        change = self.in_place(solution) - self.output
        return float((change**2).sum() / ((self.output - self.output.mean(0)) ** 2).sum())

    def solved(self, size: int, seen: Any) -> Solution:
        """Return the solution of one size."""
        return self.form.solve(self.arrays, seen, [size])[size]


def nearly_equal(arrays: list[Any]) -> list[Any]:
    """Return arrays of a layer of eight units, three of them nearly like others."""
    rng = np.random.default_rng(1)
    for array in arrays:
        gates = array.reshape(*array.shape[:-1], -1, 8)
        gates[..., :3] = gates[..., 3:6] + rng.normal(0, 0.02, gates[..., :3].shape)
    return arrays


def check_exact_and_alike(network: Network, size: int) -> None:
    """Check that the largest size is the original, and that both ways agree at another one."""
    form, largest = network.form, network.form.largest
    for seen in (None, network.seen):
        for units in (largest, size):
            solution = network.solved(units, seen)
            built, count = network.built(solution)
            np.testing.assert_allclose(network.in_place(solution), built, atol=2e-5)
            assert form.parameters(units) == count
            if units == largest:
                np.testing.assert_allclose(built, network.output, atol=2e-5)
        errors = form.errors(network.arrays, seen)
        assert errors.shape == (largest,)
        assert errors[-1] == 0
        assert (np.diff(errors) <= 0).all()
    assert form.before == form.parameters(largest)
    assert form.multiplications(largest) == multiplications_now(network.place, form)
