"""The public functions, a file each; they return results and never print.

Keras is loaded only by the functions that run a model, when they are called.
"""
