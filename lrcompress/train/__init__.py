"""Fitting a Keras model: fine-tuning and training from random weights."""

import lrcompress.live  # noqa: F401  # sets what TensorFlow reads when it is imported
