"""What predictions are worth: scores, intervals and tests, in NumPy and SciPy alone."""

from __future__ import annotations

from lrcompress.measure.beside import Look, Original, from_logits
from lrcompress.measure.drop import Judge, Judged
from lrcompress.measure.evaluation import Evaluation, is_language, summarize, tells_perplexity
from lrcompress.measure.paired import (
    Comparison,
    compare,
    compare_paired,
    lost_classes,
    paired_difference,
    rise,
)
from lrcompress.measure.scores import MANY_CLASSES, SCORERS, Scores, classes_of, kind_of
from lrcompress.measure.statistics import mean_interval, wilson_interval

__all__ = [
    "MANY_CLASSES",
    "SCORERS",
    "Comparison",
    "Evaluation",
    "Judge",
    "Judged",
    "Look",
    "Original",
    "Scores",
    "classes_of",
    "compare",
    "compare_paired",
    "from_logits",
    "is_language",
    "kind_of",
    "lost_classes",
    "mean_interval",
    "paired_difference",
    "rise",
    "summarize",
    "tells_perplexity",
    "wilson_interval",
]
