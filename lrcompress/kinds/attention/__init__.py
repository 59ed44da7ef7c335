"""Attention of several heads: its kind, its forms, and what they need of the data."""
