"""A Keras model that runs: loading, predicting, measuring and watching it.

Its modules are imported one by one, above the rooms of Keras inside functions: all but `environment` load Keras.
"""

from __future__ import annotations

import os

# TensorFlow reads it when it is imported: its start-up notes are for its developers.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
