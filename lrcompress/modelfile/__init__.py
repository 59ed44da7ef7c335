"""Keras model files without Keras: find layers, read them, write a file with other stock layers in their place.

HDF5 files of Keras 1 to 3 and `.keras` archives of 2.12 to 3 are told by content. What is written
opens in plain Keras, in safe mode, without custom objects.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lrcompress.modelfile.container import kept_open as kept_open
from lrcompress.modelfile.end import check_has_sites as check_has_sites
from lrcompress.modelfile.find import find_head as find_head
from lrcompress.modelfile.find import find_sites as find_sites
from lrcompress.modelfile.find import head_paths as head_paths
from lrcompress.modelfile.loadable import check_loadable as check_loadable
from lrcompress.modelfile.loadable import made_of as made_of
from lrcompress.modelfile.loadable import model_of as model_of
from lrcompress.modelfile.loadable import open_for_keras as open_for_keras
from lrcompress.modelfile.model import ModelFile as ModelFile
from lrcompress.modelfile.model import Replacement as Replacement
from lrcompress.modelfile.model import Site as Site
from lrcompress.modelfile.model import Written as Written
from lrcompress.modelfile.read import not_finite as not_finite
from lrcompress.modelfile.read import open_model as open_model
from lrcompress.modelfile.read import read_arrays as read_arrays
from lrcompress.modelfile.read import read_bias as read_bias
from lrcompress.modelfile.read import read_kernel as read_kernel
from lrcompress.modelfile.rewrite.replace import write_changed as write_changed
from lrcompress.modelfile.rewrite.replace import write_merged as write_merged
from lrcompress.modelfile.rewrite.replace import write_replaced as write_replaced
from lrcompress.modelfile.untrusted import SUFFIXES as SUFFIXES

if TYPE_CHECKING:
    from lrcompress.modelfile.chains import Chain as Chain
    from lrcompress.modelfile.chains import find_chains as find_chains
    from lrcompress.modelfile.chains import pair_of as pair_of
    from lrcompress.modelfile.joined import whole_file as whole_file
    from lrcompress.modelfile.places import Places as Places
    from lrcompress.modelfile.places import find_places as find_places
    from lrcompress.modelfile.shapes import multiplications_of as multiplications_of


# What few commands need, and where it is.
_LATER = {
    "Chain": "chains", "find_chains": "chains", "pair_of": "chains", "Places": "places", "find_places": "places",
    "multiplications_of": "shapes", "whole_file": "joined",
}  # fmt: skip


def __getattr__(name: str) -> Any:  # noqa: ANN401  # PEP 562
    """Load what few commands need when it is first asked for."""
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
