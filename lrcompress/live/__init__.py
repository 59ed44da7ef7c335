"""A Keras model that runs: loading, predicting, measuring and watching it."""
