"""A whole network that runs: what flows through its layers, and what it does with other arrays in them."""

from __future__ import annotations

from lrcompress.live.network.walk import Network as Network
from lrcompress.live.network.walk import Networks as Networks
