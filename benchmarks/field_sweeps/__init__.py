"""Sweeps of what people's models and data look like; each module is one, see `benchmarks/field.py`."""
