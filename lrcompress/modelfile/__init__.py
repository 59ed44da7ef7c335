"""Keras model files without Keras: find layers, read them, write a file with other stock layers in their place.

Two that are one matrix already are found as one, and written with another rank, or as one.

Reads HDF5 files of Keras 1 to 3 and `.keras` archives of 2.12 to 3, told by content. What is
written opens in plain Keras, in safe mode, without custom objects. What finds the places of whole
networks is loaded when it is first used, with all layer kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.modelfile.container import kept_open
from lrcompress.modelfile.end import check_has_sites
from lrcompress.modelfile.find import find_head, find_sites, head_paths
from lrcompress.modelfile.loadable import check_loadable, made_of, model_of, open_for_keras
from lrcompress.modelfile.model import ModelFile, Replacement, Site, Written
from lrcompress.modelfile.read import not_finite, open_model, read_arrays, read_bias, read_kernel
from lrcompress.modelfile.rewrite import write_changed, write_merged, write_replaced
from lrcompress.modelfile.shapes import multiplications_of
from lrcompress.modelfile.sniff import SUFFIXES

if TYPE_CHECKING:
    from lrcompress.modelfile.chains import Chain as Chain
    from lrcompress.modelfile.chains import find_chains as find_chains
    from lrcompress.modelfile.joined import whole_file as whole_file
    from lrcompress.modelfile.places import Places as Places
    from lrcompress.modelfile.places import find_places as find_places

__all__ = [
    "SUFFIXES",
    "Chain",
    "ModelFile",
    "Places",
    "Replacement",
    "Site",
    "Written",
    "check_has_sites",
    "check_loadable",
    "find_chains",
    "find_head",
    "find_places",
    "find_sites",
    "head_paths",
    "kept_open",
    "made_of",
    "model_of",
    "multiplications_of",
    "not_finite",
    "open_for_keras",
    "open_model",
    "read_arrays",
    "read_bias",
    "read_kernel",
    "whole_file",
    "write_changed",
    "write_merged",
    "write_replaced",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # PEP 562
    """Load what few commands need when it is first asked for."""
    if name == "whole_file":
        from lrcompress.modelfile import joined

        return joined.whole_file
    if name in ("Chain", "find_chains"):
        from lrcompress.modelfile import chains

        return getattr(chains, name)
    if name not in ("Places", "find_places"):
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from lrcompress.modelfile import places

    return getattr(places, name)
