"""`sweep`: every rank of one layer at once, by one method or several."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.compression import LayerTask, Request, Target, check_layer, largest_useful
from lrcompress.compression.trial import Calibration, Outcome, Trial
from lrcompress.events import progress as tell
from lrcompress.lowrank import (
    METHODS,
    Factors,
    one_blas_thread,
    parameters,
    rank_grid,
    singular_values,
)
from lrcompress.modelfile import ModelFile, Site, find_head, head_paths, open_model
from lrcompress.records.results import Shown
from lrcompress.verbs.context import find_data, open_live
from lrcompress.verbs.in_memory import takes_live_models
from lrcompress.verbs.networks import words_of

if TYPE_CHECKING:
    from lrcompress.verbs.networks.sweep import NetworkSweep

# A continuation pass costs seconds a rank; up to so many it goes through every one.
EVERY_RANK = 24
_NOTHING = Calibration({})
# Multiplications in which the outputs of all inputs are measured at one rank, a second or so.
QUICK = 2**35


@dataclass(frozen=True, repr=False)
class SweepResult(Shown):
    """What `sweep` found.

    Attributes:
        model: The file; None for a model in memory.
        layer: Path of the layer.
        kernel_shape: (m, n).
        parameters: Of the whole model.
        break_even_rank: The largest rank that saves anything.
        singular_values: Of the kernel, descending.
        dataset: Name, scaling and sample counts; None without data.
        original: What the original is measured by on held-out data, and on test data with its
            interval: error rates in percent, or what ``measure`` names; empty without data.
        rows: One a method and rank; see docs/cli.md.
        seconds: Wall time: ``activations`` and each method.
    """

    model: Path | None
    layer: str
    kernel_shape: tuple[int, int]
    parameters: int
    break_even_rank: int
    singular_values: list[float]
    dataset: dict[str, Any] | None
    original: dict[str, Any]
    rows: list[dict[str, Any]]
    seconds: dict[str, float]

    def facts(self) -> dict[str, str]:
        """Return the layer and what was tried."""
        methods = ", ".join(dict.fromkeys(row["method"] for row in self.rows))
        m, n = self.kernel_shape
        return {
            "layer": f"{self.layer}, Dense {m} x {n}",
            "methods": methods,
            "ranks": str(len({row["rank"] for row in self.rows})),
            "data set": "none" if self.dataset is None else str(self.dataset["name"]),
        }


@one_blas_thread()
@takes_live_models()
def sweep(
    model: Any,  # noqa: ANN401  # a path, or a Keras model
    *,
    architecture: str | Path | None = None,
    method: str | Sequence[str] = "auto",
    ranks: Sequence[int] | None = None,
    layer: Any = None,  # noqa: ANN401  # its name, or itself
    layers: str | Sequence[str] | None = None,
    dataset: Any = None,  # noqa: ANN401  # a name, or data in any arrangement
    data_dir: str | Path | None = None,
    validation: Any = None,  # noqa: ANN401
    scaling: str | None = None,
    samples: int | None = None,
    synthetic: bool = True,
    seed: int = 0,
    progress: bool = False,
) -> SweepResult | NetworkSweep:
    """Measure what every rank of a Dense layer would save and cost; no model is written.

    The network below the layer runs once over each part of the data; every rank comes from one
    decomposition, or one pass of refinement. With `layers` it is the sensitivity of every layer that is
    measured: what the outputs lose where that layer alone is smaller, in each form, at some sizes.

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file, or a Keras model in memory.
        architecture: Where the file holds weights alone: a file of what `model.to_json()` returned.
        method: auto, svd, centered, whitened, weighted, refined, or several of them.
        ranks: Default every rank that saves something. Where there are more than 24, ranks in even
            ratios for `refined`, and for all methods where measuring one takes seconds.
        layer: Another Dense layer than the final one.
        layers: ``"all"``, families (``"dense"``, ``"conv"``, ...), names or paths, as for
            `lrcompress.factorize`.
        dataset: As for `lrcompress.factorize`, with labels or without; without a data set only the
            kernel is judged, and Keras is not loaded.
        data_dir: First folder in which a named data set is sought.
        validation: A `.npz` file to choose on, with ``x_val`` and ``y_val`` or ``x`` and ``y``, new to
            the model; default the data set's own ``x_val``, or a held-out tenth of the training data.
        scaling: Default the model's own, or detected.
        samples: Calibration inputs; default all of the training part, with `layers` 3,000.
        synthetic: Whether `layers` may be measured on synthetic inputs where there are no data.
        seed: Of the held-out split.
        progress: Show on stderr how far it is.

    Raises:
        RankError: If a rank does not fit the kernel, none saves anything, or a method lacks data.
        ModelFileError: If the file cannot be read.
        UnsupportedModelError: If there is no such Dense layer.
        DatasetError: If the data set is missing or does not fit the model.
    """
    path = Path(model)
    opened = open_model(path)
    data = None
    if dataset is not None:
        data = find_data(
            dataset, data_dir, scaling, opened.origin, seed=seed, validation=validation
        )
    if words_of(layers):
        from lrcompress.verbs.networks.sweep import sweep_network

        return sweep_network(
            opened, words_of(layers), data, samples, synthetic=synthetic, seed=seed
        )
    found = find_head(opened, layer)
    target = Target(found, is_head=layer is None or found.path in head_paths(opened))
    wanted = _ranks(ranks, found)
    methods = [method] if isinstance(method, str) else list(method)
    for name in methods:
        # What cannot work is refused before Keras starts.
        LayerTask(opened, target, Request(method=name), None if data is None else _NOTHING)
    live, calibration, description = None, None, None
    started = time.perf_counter()
    if data is not None:
        live = open_live(opened, data, samples)
        calibration, used = live.calibration([target], methods)
        description = live.described(used)
    made = (
        LayerTask(opened, target, Request(method=name), calibration, f"factorizing, {name}")
        for name in methods
    )
    tasks = {task.method: task for task in made}
    kernel = next(iter(tasks.values())).kernel
    trials = None
    if live is not None and calibration is not None and calibration.trial is not None:
        trials = calibration.trial, live.test_trial(target)
    seconds = {"activations": time.perf_counter() - started}
    rows: list[dict[str, Any]] = []
    for name, task in tasks.items():
        started = time.perf_counter()
        takes_long = task.goes_down or _work(trials, kernel.size) > QUICK
        is_thinned = ranks is None and takes_long and len(wanted) > EVERY_RANK
        chosen = sorted(rank_grid(len(wanted))) if is_thinned else wanted
        for rank, factors in task.at_ranks(chosen).items():
            tell(f"measuring {name}", rank, max(chosen))
            row = _row(opened, found, name, factors) | _UNMEASURED
            if live is not None and trials is not None:
                held_out, test = (trial({found: factors}, f"rank {rank}") for trial in trials)
                row |= live.data.told(_measured(held_out, test, trials[1].original))
            rows.append(row)
        seconds[name] = time.perf_counter() - started
    original = {}
    if live is not None and trials is not None:
        original = live.data.told(_original(*(trial.original for trial in trials)))
    if description is not None and not description["validation_given"]:
        from lrcompress.live.prepare import trained_on

        easy, hard = original.get("held_out_error_rate"), original.get("error_rate")
        if easy is not None and hard is not None:
            description["trained_on_held_out"] = trained_on(easy, hard)
    m, n = found.kernel_shape
    return SweepResult(
        model=path,
        layer=found.path,
        kernel_shape=(m, n),
        parameters=opened.parameters,
        break_even_rank=largest_useful(found),
        singular_values=[float(s) for s in singular_values(kernel)],
        dataset=description,
        original=original,
        rows=rows,
        seconds=seconds,
    )


def _work(trials: Sequence[Trial] | None, size: int) -> int:
    """Return the multiplications in which one head of so many entries is measured."""
    wrong = [trial.original.wrong for trial in trials or ()]
    return size * sum(part.size for part in wrong if part is not None)


def _ranks(ranks: Sequence[int] | None, layer: Site) -> list[int]:
    if ranks is None:
        check_layer(layer, 1)
        return list(range(1, largest_useful(layer) + 1))
    for rank in ranks:
        check_layer(layer, rank, force=True)
    return sorted(set(ranks))


def _row(opened: ModelFile, layer: Site, method: str, factors: Factors) -> dict[str, Any]:
    """Return what a rank saves, and how far its factors are from the kernel."""
    m, n = layer.kernel_shape
    stored = parameters(m, n, layer.rank)
    saved = stored - parameters(m, n, factors.rank)
    certificate = factors.certificate
    truncated = certificate if METHODS[method].minimises == "kernel" else certificate.truncated
    return {
        "method": method,
        # Another one where that was better on held-out inputs.
        "method_used": factors.method,
        "rank": factors.rank,
        "parameters_after": opened.parameters - saved,
        "layer_reduction": saved / stored,
        "model_reduction": saved / max(opened.parameters, 1),
        # Of the matrix that was truncated; refinement truncates none.
        "energy": None if truncated is None else 1 - truncated.frobenius_error**2,
        "frobenius_error": certificate.frobenius_error,
        "spectral_error": certificate.spectral_error,
    }


_UNMEASURED: dict[str, Any] = dict.fromkeys(
    ("output_error", "agreement", "held_out_error_rate", "held_out_drop",
     "error_rate", "error_rate_low", "error_rate_high", "drop")
)  # fmt: skip


def _measured(held_out: Outcome, test: Outcome, original: Outcome) -> dict[str, Any]:
    """Return errors of the outputs: what to choose by from held-out data, what to report from test."""
    from lrcompress.measure import compare

    found = {
        "output_error": held_out.output_error,
        "agreement": held_out.agreement,
        "held_out_error_rate": held_out.error_rate,
        "held_out_drop": held_out.drop,
    } | _main_figure(held_out)
    if held_out.rise is not None:
        found["held_out_perplexity_rise"] = held_out.rise
    if original.evaluation is not None and test.evaluation is not None:
        difference = compare(original.evaluation, test.evaluation)
        return found | test.evaluation.to_json() | {"drop": difference.to_json()}
    return found


def _original(held_out: Outcome, test: Outcome) -> dict[str, Any]:
    """Return what the original is measured by on both parts, with the numbers of samples."""
    found: dict[str, Any] = {}
    if held_out.evaluation is not None:
        found = {
            "held_out_error_rate": held_out.error_rate,
            "held_out_samples": held_out.evaluation.samples,
        } | _main_figure(held_out)
    return found if test.evaluation is None else found | test.evaluation.to_json()


def _main_figure(outcome: Outcome) -> dict[str, Any]:
    """Return the main figure on held-out data, where it is no error rate."""
    evaluation = outcome.evaluation
    if evaluation is None or evaluation.measure in ("error_rate", "binary_error"):
        return {}
    return {f"held_out_{evaluation.measure}": evaluation.value}
