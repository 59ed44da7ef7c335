"""A copy of a model file with some layers changed: planned, written, read back and put in place."""
