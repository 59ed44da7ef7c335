"""The whole job on MNIST: train the paper's network, factorize it, fine-tune it, report.

    python mnist_walkthrough.py            # about ten minutes on two cores
    python mnist_walkthrough.py --quick    # the same on the bundled digits, under a minute

MNIST is sought in $LRCOMPRESS_DATA and in Keras' cache, then downloaded by Keras.
Files are written to the current directory.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lrcompress

DATASET = "digits" if "--quick" in sys.argv else "mnist"
# Rank 4 keeps 42 % of the final layer's parameters: 256 x 10 becomes 256 x 4 x 10.
RANK = 4
EPOCHS = 2

# 1. The paper's network at full rank. The same command again would find it done.
train = ["train-from-scratch", "--dataset", DATASET, "--ranks", "full"]
subprocess.run([sys.executable, "-m", "lrcompress", *train], check=True)
original = Path(f"scratch-{DATASET}") / f"{DATASET}-full.keras"

# 2. What is in it, and what would a rank save?
head = lrcompress.inspect(original)["head"]
print(f"final layer {head['kernel_shape']}, ranks up to {head['break_even_rank']} save parameters")

# 3. One Dense becomes two. This does not start Keras, and the original stays as it was.
result = lrcompress.factorize(original, rank=RANK, overwrite=True)
print(f"{result.output}: {result.parameters_before:,} -> {result.parameters_after:,} parameters")
print(result.factors.certificate)

# 4. The same by what the inputs look like: no labels, no training of the network.
refined = lrcompress.factorize(
    original, rank=RANK, dataset=DATASET, output="refined.keras", overwrite=True
)
print(f"refined: {refined.error_rate_before:.2f} % -> {refined.error_rate_after:.2f} % test error")

# 5. Two epochs on the original data set, the original model teaching.
tuned = lrcompress.finetune(result.output, epochs=EPOCHS, overwrite=True)
print(f"fine-tuned: {tuned.error_rate_before:.2f} % -> {tuned.error_rate_after:.2f} % test error")

# 6. The whole story, also as `lrcompress report`.
for stage in lrcompress.report(result.record)["stages"]:
    print(stage["name"], stage["error_rate"], stage["parameters"], stage["bytes"])
