"""Attention of several heads: its kind, its forms, and what they need of the data."""

from lrcompress.kinds.attention.kind import Attention

__all__ = ["Attention"]
