"""Write the bundled data set `lrcompress/data/digits.npz` from scikit-learn's copy of it.

Run once: `python -m pip install scikit-learn && python benchmarks/bundle_digits.py`.
The 1,797 images are split once and for all: 1,437 to train, 360 to test, by a seeded permutation.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TEST_IMAGES = 360
TARGET = Path(__file__).parent.parent / "lrcompress" / "data" / "digits.npz"

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
images = digits.images.astype(np.uint8)[order]
labels = digits.target.astype(np.uint8)[order]
np.savez_compressed(
    TARGET,
    x_train=images[:-TEST_IMAGES],
    y_train=labels[:-TEST_IMAGES],
    x_test=images[-TEST_IMAGES:],
    y_test=labels[-TEST_IMAGES:],
)
print(f"{TARGET}: {TARGET.stat().st_size} bytes")
