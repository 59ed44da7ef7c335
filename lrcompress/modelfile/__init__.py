"""Keras model files without Keras: find layers, read them, write a file with other stock layers in their place.

Two that are one matrix already are found as one, and written with another rank, or as one.

Reads HDF5 files of Keras 1 to 3 and `.keras` archives of 2.12 to 3, told by content. What is
written opens in plain Keras, in safe mode, without custom objects.
"""

from __future__ import annotations

from lrcompress.modelfile.container import kept_open
from lrcompress.modelfile.end import check_has_sites
from lrcompress.modelfile.find import find_head, find_sites, head_paths
from lrcompress.modelfile.loadable import check_loadable, made_of, model_of, open_for_keras
from lrcompress.modelfile.model import ModelFile, Replacement, Site, Written
from lrcompress.modelfile.places import Places, find_places
from lrcompress.modelfile.read import not_finite, open_model, read_arrays, read_bias, read_kernel
from lrcompress.modelfile.rewrite import write_changed, write_merged, write_replaced
from lrcompress.modelfile.sniff import SUFFIXES

__all__ = [
    "SUFFIXES",
    "ModelFile",
    "Places",
    "Replacement",
    "Site",
    "Written",
    "check_has_sites",
    "check_loadable",
    "find_head",
    "find_places",
    "find_sites",
    "head_paths",
    "kept_open",
    "made_of",
    "model_of",
    "not_finite",
    "open_for_keras",
    "open_model",
    "read_arrays",
    "read_bias",
    "read_kernel",
    "write_changed",
    "write_merged",
    "write_replaced",
]
