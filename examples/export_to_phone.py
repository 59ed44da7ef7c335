"""A trained network for a phone: factorized, exported with 8-bit weights, run by the interpreter.

    python -m pip install ".[export]"    # in the folder of the project
    python export_to_phone.py

Takes the bundled network of handwritten digits; writes to the current directory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

import lrcompress
from lrcompress.data.sources import load

MODEL = Path(__file__).with_name("digits_cnn.h5")

# 1. The final Dense becomes two, fitted to what comes in; then LiteRT, weights in 8 bits.
small = lrcompress.factorize(MODEL, rank=4, dataset="digits", output="digits.h5", overwrite=True)
found = lrcompress.export(small.output, int8=True, overwrite=True)
assert found.original is not None
print(f"{found.output}: {found.original['bytes_before']:,} -> {found.bytes_after:,} bytes")
print(
    f"factors: {found.layers[0]['factors']}; same predictions as Keras: {found.difference['agreement']:.1f} %"
)

# 2. What an app does: neither Keras nor lrcompress, only the file and its interpreter.
predict = Interpreter(str(found.output)).get_signature_runner()
digits = load("digits")
images = digits.x_test[..., None].astype(np.float32) / 16  # the scaling that it was trained with
right = 0
for image, label in zip(images, digits.y_test, strict=True):
    probabilities = predict(input_layer=image[None])["output_0"]
    right += int(probabilities.argmax() == label)
print(f"{right} of {len(images)} test images right")
