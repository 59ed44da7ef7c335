"""Old names of `devices`, until the rooms above use the new ones."""

from lrcompress.live.devices import Replicas as Team
from lrcompress.live.devices import replicas as current

__all__ = ["Team", "current"]
