"""What a user without lrcompress would do: load with Keras, take the SVD of one Dense, save.

    python benchmarks/peer.py SOURCE TARGET LAYER RANK

Prints nothing. The model must be a plain chain of layers after LAYER.
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np


def main(source: str, target: str, layer: str, rank: int) -> None:
    """Split one Dense layer of a model file."""
    model = keras.saving.load_model(source)
    names = [item.name for item in model.layers]
    at = names.index(layer)
    kernel, *bias = model.layers[at].get_weights()
    u, s, vt = np.linalg.svd(kernel, full_matrices=False)
    config = model.layers[at].get_config()
    first = keras.layers.Dense(rank, use_bias=False, name=f"{layer}_lowrank")
    second = keras.layers.Dense.from_config(config)
    tensor = second(first(model.layers[at].input))
    for item in model.layers[at + 1 :]:
        tensor = item(tensor)
    small: Any = keras.Model(model.inputs, tensor)
    first.set_weights([u[:, :rank] * np.sqrt(s[:rank])])
    second.set_weights([np.sqrt(s[:rank])[:, None] * vt[:rank], *bias])
    small.save(target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
