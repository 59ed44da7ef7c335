"""What `factorize` says of its work: the results of layers, remarks, the run record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.compression.layer import Factorized
from lrcompress.compression.request import Request
from lrcompress.lowrank import METHODS, calibration_warnings, outline, parameters
from lrcompress.modelfile import ModelFile, Written
from lrcompress.records import runs
from lrcompress.records.results import FactorizeResult, LayerResult

if TYPE_CHECKING:
    from lrcompress.compression.trial import Calibration
    from lrcompress.records.network import ChangedLayer

# Below this share of the model's parameters a layer is not worth much.
SMALL_SHARE = 0.01


def layer_result(found: Factorized, written: Written) -> LayerResult:
    """Return what became of one layer."""
    head, factors, choice = found.target.layer, found.factors, found.choice
    certificate, spectrum = factors.certificate, outline(factors)
    m, n = head.kernel_shape
    bias = n if head.use_bias or factors.bias is not None else 0
    return LayerResult(
        name=head.name,
        path=head.path,
        first_name=written.first_names[head.path][0],
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
        certified={
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
        },
        is_head=found.target.is_head,
    )


def by_layer(model: ModelFile, written: Written) -> list[dict[str, Any]]:
    """Return the weights of each layer that has some, with those of new ones for it, in the model's order."""
    after = _leaves(written.parameters_of)
    before = _leaves({layer.path: layer.parameters for layer in model.layers})
    stands_for = {
        path.rpartition("/")[0] + "/" + name if "/" in path else name: path
        for path, names in written.first_names.items()
        for name in names
    }
    found = {path: [own, 0] for path, own in before.items()}
    for path, own in after.items():
        found.setdefault(path if path in found else stands_for.get(path, path), [0, 0])[1] += own
    classes = {layer.path: layer.class_name for layer in model.layers}
    return [
        {"path": path, "class_name": classes.get(path), "parameters_before": old, "parameters_after": new}
        for path, (old, new) in found.items()
        if old or new
    ]  # fmt: skip


def _leaves(parameters: dict[str, int]) -> dict[str, int]:
    """Return the layers that hold no other layers."""
    containers = {path.rpartition("/")[0] for path in parameters}
    return {path: own for path, own in parameters.items() if path not in containers}


def about(
    model: ModelFile, layers: list[LayerResult] | list[ChangedLayer], written: Written
) -> list[str]:
    """Return what the user should know of a written model."""
    warnings = list(written.warnings)
    share = sum(layer.parameters_before for layer in layers) / max(model.parameters, 1)
    if share < SMALL_SHARE:
        names = ", ".join(repr(layer.name) for layer in layers)
        warnings.append(
            f"Layer {names} holds {100 * share:.2f} % of the model's parameters: however small it "
            "gets, the model hardly shrinks. `lrcompress inspect` shows where the parameters are."
        )
    before = model.size - written.optimizer_bytes
    after = written.size - written.optimizer_bytes_after
    if after >= before and sum(x.parameters_after - x.parameters_before for x in layers) < 0:
        warnings.append(
            f"The file is {after - before:,} bytes larger although parameters are saved: one more layer "
            "takes more room in the file than they did; a lower --rank saves more."
        )
    warnings += [
        f"Rank {layer.rank} of layer {layer.name!r} saves nothing; it was forced."
        for layer in layers
        if layer.parameters_after >= layer.parameters_before
    ]
    return warnings


def about_calibration(layers: Sequence[Factorized], calibration: Calibration | None) -> list[str]:
    """Return what the user should know of the data that layers were fitted and judged on."""
    if calibration is None:
        return []
    warnings = []
    for found in layers:
        layer = found.target.layer
        inputs = calibration.activations[layer.path]
        count = inputs.size // max(inputs.shape[-1], 1)
        lines = calibration_warnings(layer.kernel_shape, count, found.factors.method)
        warnings += [f"Layer {layer.path!r}: {line}" for line in lines]
    for found in layers[:1]:
        least = 100 / calibration.counted if calibration.counted else 0.0
        if found.choice.rule == "max_drop" and 0 < found.choice.asked < least:
            warnings.append(
                f"{calibration.counted} held-out predictions decided the rank: each weighs {least:.2f} points, so "
                f"a drop of {found.choice.asked:g} is none at all; --max-drop {math.ceil(least)} allows one."
            )
    return warnings


# What the record has of the result, in its order.
KEPT = (
    "method", "method_reason", "format", "keras_version", "layers", "parameters_before",
    "parameters_after", "optimizer_bytes", "optimizer_bytes_after", "dataset", "seconds", "warnings",
    "modernized", "network",
)  # fmt: skip


def new_record(
    result: FactorizeResult,
    model: ModelFile,
    request: Request,
    dataset: dict[str, Any] | None,
    hashes: dict[str, str],
    made: Path,
) -> runs.RunRecord:
    """Return the run record of a factorization, not yet saved; the output is read where it was made.

    A model trained by lrcompress names its data set in its own file.
    """
    if result.output is None:
        raise AssertionError  # of a file
    name, scaling = model.origin.kept.get("dataset"), model.origin.scaling
    if not dataset and isinstance(name, str) and scaling is not None:
        dataset = {"name": name, "scaling": scaling, "source": "model file"}
    record = runs.new_record(result.output, request.seed)
    known = result.to_json() | {
        "format": model.format,
        "keras_version": model.keras_version,
        "dataset": dataset,
    }
    record.document |= {key: known[key] for key in KEPT}
    for stage, path, count, at in (
        ("original", model.path, result.parameters_before, None),
        ("factorized", result.output, result.parameters_after, made),
    ):
        record.set_stage(stage, path, count, digest=hashes.get(stage), made=at)
    return record
