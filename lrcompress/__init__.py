"""Low-rank factorization of the final Dense layer of trained Keras models.

    >>> import lrcompress
    >>> result = lrcompress.factorize("model.keras", rank=4)
    >>> print(result.output, result.parameters_before, result.parameters_after)
    model-rank4.keras 40394 38898
    >>> result.factors.B.shape, result.factors.C.shape
    ((256, 4), (4, 10))

Importing this package loads neither NumPy nor Keras; the names below load what they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrcompress.errors import LRCompressError, LRCompressWarning
    from lrcompress.events import listening
    from lrcompress.live.ranks import LowRankCallback
    from lrcompress.lowrank import Factors, truncated_svd
    from lrcompress.records.exported import ExportResult
    from lrcompress.records.job import CompressResult
    from lrcompress.records.results import FactorizeResult, FinetuneResult
    from lrcompress.verbs.benchmark import BenchmarkResult, benchmark
    from lrcompress.verbs.compare import compare
    from lrcompress.verbs.compress import compress
    from lrcompress.verbs.doctor import doctor
    from lrcompress.verbs.evaluate import EvaluateResult, evaluate
    from lrcompress.verbs.export import export
    from lrcompress.verbs.factorize import factorize
    from lrcompress.verbs.finetune import finetune
    from lrcompress.verbs.inspect import inspect
    from lrcompress.verbs.merge import MergeResult, merge
    from lrcompress.verbs.modernize import ModernizeResult, modernize
    from lrcompress.verbs.report import report
    from lrcompress.verbs.split import split
    from lrcompress.verbs.sweep import SweepResult, sweep
    from lrcompress.verbs.train_from_scratch import train_from_scratch

__version__ = "0.1.0"

__all__ = [
    "BenchmarkResult",
    "CompressResult",
    "EvaluateResult",
    "ExportResult",
    "FactorizeResult",
    "Factors",
    "FinetuneResult",
    "LRCompressError",
    "LRCompressWarning",
    "LowRankCallback",
    "MergeResult",
    "ModernizeResult",
    "SweepResult",
    "benchmark",
    "compare",
    "compress",
    "doctor",
    "evaluate",
    "export",
    "factorize",
    "finetune",
    "inspect",
    "listening",
    "merge",
    "modernize",
    "report",
    "split",
    "sweep",
    "train_from_scratch",
    "truncated_svd",
]

# Each name and the module that holds it, so that a command loads what it needs and no more.
_HOMES = {
    "LRCompressError": "lrcompress.errors",
    "LRCompressWarning": "lrcompress.errors",
    "listening": "lrcompress.events",
    "LowRankCallback": "lrcompress.live.ranks",
    "Factors": "lrcompress.lowrank",
    "truncated_svd": "lrcompress.lowrank",
    "FinetuneResult": "lrcompress.records.results",
    "FactorizeResult": "lrcompress.records.results",
    "BenchmarkResult": "lrcompress.verbs.benchmark",
    "benchmark": "lrcompress.verbs.benchmark",
    "compare": "lrcompress.verbs.compare",
    "CompressResult": "lrcompress.records.job",
    "compress": "lrcompress.verbs.compress",
    "doctor": "lrcompress.verbs.doctor",
    "EvaluateResult": "lrcompress.verbs.evaluate",
    "evaluate": "lrcompress.verbs.evaluate",
    "ExportResult": "lrcompress.records.exported",
    "export": "lrcompress.verbs.export",
    "factorize": "lrcompress.verbs.factorize",
    "finetune": "lrcompress.verbs.finetune",
    "inspect": "lrcompress.verbs.inspect",
    "MergeResult": "lrcompress.verbs.merge",
    "merge": "lrcompress.verbs.merge",
    "ModernizeResult": "lrcompress.verbs.modernize",
    "modernize": "lrcompress.verbs.modernize",
    "report": "lrcompress.verbs.report",
    "split": "lrcompress.verbs.split",
    "SweepResult": "lrcompress.verbs.sweep",
    "sweep": "lrcompress.verbs.sweep",
    "train_from_scratch": "lrcompress.verbs.train_from_scratch",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  # PEP 562
    """Load a public name when it is first used."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
