"""A copy of a model file with some layers changed: planned, written, read back and put in place."""

from __future__ import annotations

from lrcompress.modelfile.rewrite.replace import write_changed, write_merged, write_replaced

__all__ = ["write_changed", "write_merged", "write_replaced"]
