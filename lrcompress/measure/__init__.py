"""What predictions are worth: scores, intervals and tests, in NumPy and SciPy alone."""

from __future__ import annotations

from lrcompress.measure.beside import Look as Look
from lrcompress.measure.beside import Original as Original
from lrcompress.measure.beside import from_logits as from_logits
from lrcompress.measure.drop import Judge as Judge
from lrcompress.measure.drop import Judged as Judged
from lrcompress.measure.evaluation import Evaluation as Evaluation
from lrcompress.measure.evaluation import is_language as is_language
from lrcompress.measure.evaluation import summarize as summarize
from lrcompress.measure.evaluation import tells_perplexity as tells_perplexity
from lrcompress.measure.paired import Comparison as Comparison
from lrcompress.measure.paired import compare as compare
from lrcompress.measure.paired import compare_paired as compare_paired
from lrcompress.measure.paired import lost_classes as lost_classes
from lrcompress.measure.paired import paired_difference as paired_difference
from lrcompress.measure.paired import rise as rise
from lrcompress.measure.scores import MANY_CLASSES as MANY_CLASSES
from lrcompress.measure.scores import SCORERS as SCORERS
from lrcompress.measure.scores import Scores as Scores
from lrcompress.measure.scores import classes_of as classes_of
from lrcompress.measure.scores import kind_of as kind_of
from lrcompress.measure.statistics import mean_interval as mean_interval
from lrcompress.measure.statistics import wilson_interval as wilson_interval
