"""Layers of fewer units: which to keep, and what the states of recurrent ones are."""
