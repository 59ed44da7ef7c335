"""A stranger's model file, perhaps old: what is in it, what can be done, and is the result the same?

    python strangers_file.py                   # the bundled digits_cnn.h5, a second or two
    python strangers_file.py their_model.h5

Nothing of the file is run and Keras is not started: its code need not be there, nor be trusted.
Files are written to the current directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import lrcompress

MODEL = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("digits_cnn.h5")

# 1. What is it? A file that is no model, or a damaged one, is refused in one line.
try:
    found = lrcompress.inspect(MODEL)
except lrcompress.LRCompressError as error:
    sys.exit(f"not a model file that can be read ({error.code}): {error}")
print(f"{MODEL.name}: {found['format']}, Keras {found['keras_version']}, {found['parameters']:,} parameters")

# 2. Is there a final Dense layer, and is it worth it?
head = found["head"]
if head is None:
    sys.exit(f"no final Dense layer ({found['reason']['code']}): {found['reason']['message']}")
m, n = head["kernel_shape"]
print(f"final layer {head['path']}: {m} x {n}, {100 * head['share_of_model']:.2g} % of the model")
if not head["break_even_rank"]:
    sys.exit("no rank makes it smaller")

# 3. Half of what the layer has, without any data.
result = lrcompress.factorize(MODEL, reduction=0.5, overwrite=True)
layer = result.layers[0]
print(f"rank {layer.rank}: {result.parameters_before:,} -> {result.parameters_after:,} parameters")
print(f"wrote {result.output}, method {result.method}: {result.method_reason}")

# 4. How far is the product of the two layers from the kernel, and how near could it be?
certificate = result.factors.certificate
product = result.factors.product()
assert product.shape == (m, n)
assert np.linalg.matrix_rank(product) <= layer.rank
print(f"relative error {certificate.frobenius_error:.4f}; no matrix of rank {layer.rank} is nearer "
      f"than {certificate.optimum_frobenius_error:.4f}")  # fmt: skip

# 5. Too old for the Keras of today? The same in its terms; every change is listed.
modern = lrcompress.modernize(MODEL, output=f"{MODEL.stem}-modern{MODEL.suffix}", overwrite=True)
print(f"wrote {modern.output}, {len(modern.changes)} changes")
