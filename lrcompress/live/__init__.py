"""A Keras model that runs: loading, predicting, measuring and watching it."""

from __future__ import annotations

import os

# TensorFlow reads it when it is imported: its start-up notes are for its developers.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
