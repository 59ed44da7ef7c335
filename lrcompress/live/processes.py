"""Old names of `environment`, until the rooms above use the new ones."""

from lrcompress.live.environment import is_follower, read_processes

__all__ = ["is_follower", "read_processes"]
