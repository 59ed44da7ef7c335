"""Convolutions: one window, the forms of its kernel, and the layers that they become."""
