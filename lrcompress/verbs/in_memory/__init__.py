"""Models in memory, behind the verbs: each is a file while a verb works, and its run is remembered."""

from lrcompress.verbs.in_memory.standins import check_file, is_live, loaded, takes_live_models

__all__ = ["check_file", "is_live", "loaded", "takes_live_models"]
