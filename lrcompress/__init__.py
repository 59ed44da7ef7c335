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
    from lrcompress.errors import LRCompressError as LRCompressError
    from lrcompress.errors import LRCompressWarning as LRCompressWarning
    from lrcompress.events import listening as listening
    from lrcompress.live.ranks import LowRankCallback as LowRankCallback
    from lrcompress.lowrank import Factors as Factors
    from lrcompress.lowrank import truncated_svd as truncated_svd
    from lrcompress.records.compressed import CompressResult as CompressResult
    from lrcompress.records.exported import ExportResult as ExportResult
    from lrcompress.records.results import FactorizeResult as FactorizeResult
    from lrcompress.records.results import FinetuneResult as FinetuneResult
    from lrcompress.verbs.benchmark import BenchmarkResult as BenchmarkResult
    from lrcompress.verbs.benchmark import benchmark as benchmark
    from lrcompress.verbs.compare import compare as compare
    from lrcompress.verbs.compress import compress as compress
    from lrcompress.verbs.doctor import doctor as doctor
    from lrcompress.verbs.evaluate import EvaluateResult as EvaluateResult
    from lrcompress.verbs.evaluate import evaluate as evaluate
    from lrcompress.verbs.export import export as export
    from lrcompress.verbs.factorize import factorize as factorize
    from lrcompress.verbs.finetune import finetune as finetune
    from lrcompress.verbs.inspect import inspect as inspect
    from lrcompress.verbs.merge import MergeResult as MergeResult
    from lrcompress.verbs.merge import merge as merge
    from lrcompress.verbs.modernize import ModernizeResult as ModernizeResult
    from lrcompress.verbs.modernize import modernize as modernize
    from lrcompress.verbs.report import report as report
    from lrcompress.verbs.split import split as split
    from lrcompress.verbs.sweep import SweepResult as SweepResult
    from lrcompress.verbs.sweep import sweep as sweep
    from lrcompress.verbs.train_from_scratch import train_from_scratch as train_from_scratch

__version__ = "0.1.0"

# Where each name is at home, so that a command loads what it needs and no more; a verb in its own module.
_VERBS = (
    "benchmark compare compress doctor evaluate export factorize finetune inspect merge modernize report split "
    "sweep train_from_scratch"
)
_MODULES = {
    "errors": "LRCompressError LRCompressWarning",
    "events": "listening",
    "live.ranks": "LowRankCallback",
    "lowrank": "Factors truncated_svd",
    "records.compressed": "CompressResult",
    "records.exported": "ExportResult",
    "records.results": "FactorizeResult FinetuneResult",
    "verbs.benchmark": "BenchmarkResult",
    "verbs.evaluate": "EvaluateResult",
    "verbs.merge": "MergeResult",
    "verbs.modernize": "ModernizeResult",
    "verbs.sweep": "SweepResult",
}
_HOMES = {verb: f"verbs.{verb}" for verb in _VERBS.split()}
_HOMES |= {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:  # noqa: ANN401  # PEP 562
    """Load a public name when it is first used."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
