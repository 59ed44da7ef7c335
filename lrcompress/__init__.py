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
    from lrcompress.api import (
        BenchmarkResult,
        EvaluateResult,
        ExportResult,
        FactorizeResult,
        FinetuneResult,
        MergeResult,
        ModernizeResult,
        SweepResult,
        benchmark,
        compare,
        evaluate,
        export,
        factorize,
        finetune,
        inspect,
        merge,
        modernize,
        report,
        sweep,
        train_from_scratch,
    )
    from lrcompress.errors import LRCompressError, LRCompressWarning
    from lrcompress.lowrank import Factors, truncated_svd

__version__ = "0.1.0"

__all__ = [
    "BenchmarkResult",
    "EvaluateResult",
    "ExportResult",
    "FactorizeResult",
    "Factors",
    "FinetuneResult",
    "LRCompressError",
    "LRCompressWarning",
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
    "truncated_svd",
]

_HOMES = dict.fromkeys(__all__, "lrcompress.api") | {
    "Factors": "lrcompress.lowrank",
    "truncated_svd": "lrcompress.lowrank",
    "LRCompressError": "lrcompress.errors",
    "LRCompressWarning": "lrcompress.errors",
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
