"""What predictions are worth: scores, intervals and tests, in NumPy and SciPy alone."""

from __future__ import annotations

from lrcompress.measure.comparison import Comparison, compare, lost_classes
from lrcompress.measure.distance import from_logits, from_outputs
from lrcompress.measure.drop import Judge, Judged, OutputDrop
from lrcompress.measure.evaluation import Evaluation, summarize
from lrcompress.measure.paired import compare_paired, paired_difference
from lrcompress.measure.scores import SCORERS, Kind, Scores, classes_of, kind_of
from lrcompress.measure.statistics import Interval, Weights, mean_interval, wilson_interval

__all__ = [
    "SCORERS",
    "Comparison",
    "Evaluation",
    "Interval",
    "Judge",
    "Judged",
    "Kind",
    "OutputDrop",
    "Scores",
    "Weights",
    "classes_of",
    "compare",
    "compare_paired",
    "from_logits",
    "from_outputs",
    "kind_of",
    "lost_classes",
    "mean_interval",
    "paired_difference",
    "summarize",
    "wilson_interval",
]
