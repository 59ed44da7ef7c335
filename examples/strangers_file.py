"""A stranger's model file, perhaps old: what is in it, what can be done, and is the result the same?

    python strangers_file.py                   # the bundled digits_cnn.h5, ten seconds
    python strangers_file.py their_model.h5

Up to the last step nothing of the file is run and Keras is not started: the stranger's code need not
be there, nor be trusted. A file that holds code is not given to Keras in the last step either.
Files are written to the current directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import lrcompress
from lrcompress.modelfile import open_for_keras

MODEL = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("digits_cnn.h5")

# 1. What is it? A file that is no model, or a damaged one, is refused in one line.
try:
    found = lrcompress.inspect(MODEL)
except lrcompress.LRCompressError as error:
    sys.exit(f"not a model file that can be read ({error.code}): {error}")
print(
    f"{MODEL.name}: {found['format']}, Keras {found['keras_version']}, {found['parameters']:,} parameters"
)

# 2. Is there a final Dense layer, and is it worth it?
head = found["head"]
if head is None:
    sys.exit(f"no final Dense layer ({found['reason']['code']}): {found['reason']['message']}")
m, n = head["kernel_shape"]
print(f"final layer {head['path']}: {m} x {n}, {100 * head['share_of_model']:.2g} % of the model")
if not head["break_even_rank"]:
    sys.exit("no rank makes it smaller")

# 3. What would be no use is refused, and the message says what would be.
try:
    lrcompress.factorize(MODEL, rank=min(m, n), overwrite=True)
except lrcompress.LRCompressError as error:
    print(f"refused ({error.code}): {error}")

# 4. Half of the rank that saves nothing saves half of the layer; without any data. Written so that
#    the Keras of today loads it, however old the file is.
rank = max(1, head["break_even_rank"] // 2)
result = lrcompress.factorize(MODEL, rank=rank, modernize=True, overwrite=True)
layer = result.layers[0]
print(f"rank {layer.rank}: {result.parameters_before:,} -> {result.parameters_after:,} parameters")
print(f"wrote {result.output}, method {result.method}: {result.method_reason}")

# 5. How far is the product of the two layers from the kernel, and how near could it be?
certificate = result.factors.certificate
product = result.factors.product()
assert product.shape == (m, n)
assert np.linalg.matrix_rank(product) <= layer.rank
print(f"relative error {certificate.frobenius_error:.4f}; no matrix of rank {layer.rank} is nearer "
      f"than {certificate.optimum_frobenius_error:.4f}")  # fmt: skip

# 6. The whole model in the terms of today's Keras; every change is listed.
modern = lrcompress.modernize(MODEL, output=f"{MODEL.stem}-modern{MODEL.suffix}", overwrite=True)
print(f"wrote {modern.output}, {len(modern.changes)} changes")

# 7. Now Keras: do the outputs agree? On random inputs, as there are no others.
import keras  # noqa: E402  # the steps above do without

outputs = {}
for path in (MODEL, modern.output, result.output):
    try:
        open_for_keras(path)  # refuses what holds code, or leads Keras to code
        model = keras.saving.load_model(path, compile=False)
    except lrcompress.LRCompressError as error:
        print(f"{path.name} is not given to Keras ({error.code}): {error}")
        continue
    except Exception as error:  # Keras raises anything here
        print(f"{path.name}: this Keras cannot load it ({type(error).__name__})")
        continue
    rng = np.random.default_rng(0)
    x = [rng.random((256, *(size or 32 for size in one.shape[1:]))) for one in model.inputs]
    outputs[path] = keras.tree.flatten(model.predict(x if len(x) > 1 else x[0], verbose=0))[-1]
first = next(iter(outputs), None)
for path, y in outputs.items():
    if path is not first:
        same = np.mean(y.argmax(-1) == outputs[first].argmax(-1))
        print(f"{path.name} against {first.name}: outputs differ by at most {np.abs(y - outputs[first]).max():.2g}, "
              f"the largest one is the same for {same:.0%}")  # fmt: skip
if MODEL in outputs:
    np.testing.assert_allclose(outputs[modern.output], outputs[MODEL], atol=1e-5)
