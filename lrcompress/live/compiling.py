"""Old names of `engine`, until the rooms above use the new ones."""

from lrcompress.live.engine import compile_like, compile_without_slots

__all__ = ["compile_like", "compile_without_slots"]
