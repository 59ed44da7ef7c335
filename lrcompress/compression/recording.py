"""What `factorize` says of its work: the results of layers, remarks, the run record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrcompress.compression.layer import Factorized, Request
from lrcompress.compression.trial import Calibration
from lrcompress.lowrank import METHODS, Factors, calibration_warnings, outline, parameters
from lrcompress.modelfile import ModelFile, Written
from lrcompress.records import runs
from lrcompress.records.results import FactorizeResult, LayerResult

# Below this share of the model's parameters a layer is not worth much.
SMALL_SHARE = 0.01


def layer_result(found: Factorized, written: Written) -> LayerResult:
    """Return what became of one layer."""
    head, factors, choice = found.target.layer, found.factors, found.choice
    m, n = head.kernel_shape
    bias = n if head.use_bias or factors.bias is not None else 0
    return LayerResult(
        name=head.name,
        path=head.path,
        first_name=written.first_names[head.path],
        kernel_shape=head.kernel_shape,
        dtype=head.dtype,
        activation=head.activation,
        softmax=head.softmax,
        rank=choice.rank,
        choice=choice,
        method_reason=found.reason,
        parameters_before=head.stored_parameters,
        parameters_after=parameters(m, n, choice.rank) + bias,
        factors=factors,
        certified=_certified(factors),
        is_head=found.target.is_head,
    )


def _certified(factors: Factors) -> dict[str, Any]:
    certificate, spectrum = factors.certificate, outline(factors)
    return {
        "frobenius_error": certificate.frobenius_error,
        "spectral_error": certificate.spectral_error,
        "optimality": certificate.minimised.optimality,
        "optimality_of": METHODS[factors.method].minimises,
        "minimised_error": certificate.minimised.frobenius_error,
        "minimised_optimum": certificate.minimised.optimum_frobenius_error,
        "exact": certificate.minimised.exact,
        "algorithm": certificate.algorithm,
        "spectrum_of": spectrum.of,
        "singular_values": spectrum.values,
        "singular_value_ranks": spectrum.ranks,
        "energy": spectrum.energy,
    }


def about(model: ModelFile, layers: list[LayerResult], written: Written) -> list[str]:
    """Return what the user should know of a written model."""
    warnings = list(written.warnings)
    share = sum(layer.parameters_before for layer in layers) / max(model.parameters, 1)
    if share < SMALL_SHARE:
        names = ", ".join(repr(layer.name) for layer in layers)
        warnings.append(
            f"Layer {names} holds {100 * share:.2f} % of the model's parameters: however small it "
            "gets, the model hardly shrinks. `lrcompress inspect` shows where the parameters are."
        )
    before, after = (
        model.size - written.optimizer_bytes,
        written.size - written.optimizer_bytes_after,
    )
    if after >= before and sum(x.parameters_after - x.parameters_before for x in layers) < 0:
        warnings.append(
            f"The file is {after - before:,} bytes larger although parameters are saved: one more layer "
            "takes more room in the file than they did; a lower --rank saves more."
        )
    for layer in layers:
        if layer.parameters_after >= layer.parameters_before:
            warnings.append(
                f"Rank {layer.rank} of layer {layer.name!r} saves nothing; it was forced."
            )
    return warnings


def about_calibration(layers: Sequence[Factorized], calibration: Calibration | None) -> list[str]:
    """Return what the user should know of the data that layers were fitted and judged on."""
    if calibration is None:
        return []
    warnings = []
    for found in layers:
        path, shape = found.target.layer.path, found.target.layer.kernel_shape
        inputs = calibration.activations[path]
        count = inputs.size // max(inputs.shape[-1], 1)
        lines = calibration_warnings(shape, count, found.factors.method)
        warnings += [f"Layer {path!r}: {line}" for line in lines]
    asked = [found.choice.asked for found in layers if found.choice.rule == "max_drop"]
    # The original's probabilities, which count where labels do not, are not so coarse.
    labels = calibration.labels if calibration.by_labels else None
    judged = 0 if labels is None else int((labels >= 0).sum())
    if asked and judged and 0 < asked[0] < 100 / judged:
        warnings.append(
            f"{judged} held-out predictions decided the rank: each weighs {100 / judged:.2f} points, so "
            f"a drop of {asked[0]:g} is none at all; --max-drop {math.ceil(100 / judged)} allows one."
        )
    return warnings


def own_dataset(model: ModelFile) -> dict[str, Any] | None:
    """Return the data set a model trained by lrcompress names in its own file, unless it may not."""
    name, scaling = model.origin.kept.get("dataset"), model.origin.scaling
    if isinstance(name, str) and scaling is not None:
        return {"name": name, "scaling": scaling, "source": "model file"}
    return None


def new_record(
    result: FactorizeResult,
    model: ModelFile,
    request: Request,
    dataset: dict[str, Any] | None,
    hashes: dict[str, str],
    made: Path,
) -> runs.RunRecord:
    """Return the run record of a factorization, not yet saved.

    Args:
        result: What it came to.
        model: The file that was given.
        request: What was asked for.
        dataset: Name and scaling of the data, None without.
        hashes: SHA-256 of its model files by stage, as far as they are known.
        made: Where the output can be read until it is in its place.
    """
    if result.output is None:
        raise AssertionError  # of a file
    record = runs.new_record(result.output, request.seed)
    record.document |= {
        "method": result.method,
        "method_reason": result.method_reason,
        "format": model.format,
        "keras_version": model.keras_version,
        "layers": [layer.to_json() for layer in result.layers],
        "parameters_before": result.parameters_before,
        "parameters_after": result.parameters_after,
        "optimizer_bytes": result.optimizer_bytes,
        "optimizer_bytes_after": result.optimizer_bytes_after,
        "dataset": dataset,
        "seconds": result.seconds,
        "warnings": result.warnings,
        "modernized": result.modernized,
    }
    for stage, path, count, at in (
        ("original", model.path, result.parameters_before, None),
        ("factorized", result.output, result.parameters_after, made),
    ):
        record.set_stage(stage, path, count, digest=hashes.get(stage), made=at)
    return record
