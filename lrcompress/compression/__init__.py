"""`factorize` without Keras: ranks are chosen, kernels factorized, a smaller file is written; data come in `trial`."""

from __future__ import annotations

from lrcompress.compression.choose import RULES, Asked, Found, Joint, Rule, choose_rank, pick
from lrcompress.compression.drop import DROPS, MaxRise, drop_rule
from lrcompress.compression.layer import LayerTask
from lrcompress.compression.request import (
    Request,
    Target,
    check_layer,
    check_suffix,
    default_output,
    largest_useful,
    needs_modern_terms,
    same_format,
)
from lrcompress.compression.run import Convert, Source, check_target, factorize_file, find_source

__all__ = [
    "DROPS",
    "RULES",
    "Asked",
    "Convert",
    "Found",
    "Joint",
    "LayerTask",
    "MaxRise",
    "Request",
    "Rule",
    "Source",
    "Target",
    "check_layer",
    "check_suffix",
    "check_target",
    "choose_rank",
    "default_output",
    "drop_rule",
    "factorize_file",
    "find_source",
    "largest_useful",
    "needs_modern_terms",
    "pick",
    "same_format",
]
