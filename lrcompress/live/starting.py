"""Old names of `environment`, until the rooms above use the new ones."""

from lrcompress.live.environment import start

__all__ = ["start"]
