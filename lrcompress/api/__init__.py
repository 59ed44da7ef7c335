"""The verbs, for Python and for the command line alike; they return results and never print.

Keras is loaded only by the functions that run a model, when they are called.
"""

from __future__ import annotations

from lrcompress.api.benchmarking import BenchmarkResult, benchmark
from lrcompress.api.comparing import compare
from lrcompress.api.evaluating import EvaluateResult, evaluate
from lrcompress.api.exporting import ExportResult, export
from lrcompress.api.factorizing import factorize
from lrcompress.api.finetune_result import FinetuneResult
from lrcompress.api.finetuning import finetune
from lrcompress.api.inspecting import inspect
from lrcompress.api.merging import MergeResult, merge
from lrcompress.api.modernizing import ModernizeResult, modernize
from lrcompress.api.reporting import report
from lrcompress.api.scratch import train_from_scratch
from lrcompress.api.sweeping import SweepResult, sweep
from lrcompress.results import FactorizeResult

__all__ = [
    "BenchmarkResult",
    "EvaluateResult",
    "ExportResult",
    "FactorizeResult",
    "FinetuneResult",
    "MergeResult",
    "ModernizeResult",
    "SweepResult",
    "benchmark",
    "compare",
    "evaluate",
    "export",
    "factorize",
    "finetune",
    "inspect",
    "merge",
    "modernize",
    "report",
    "sweep",
    "train_from_scratch",
]
