"""Fitting a Keras model: fine-tuning and training from random weights."""
