"""The only room that imports Keras.

Written against Keras 3 alone, so that its TensorFlow, JAX and PyTorch backends all serve.
`datasets`, `images`, `scaling` and `statistics` are plain NumPy and do not start Keras.
"""

from __future__ import annotations

import os

# TensorFlow reads this once, at import: its start-up notes are not the user's business.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
