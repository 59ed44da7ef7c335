"""`factorize`: one Dense layer of a model becomes two smaller ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from lrcompress.compression.layer import Request, check_layer
from lrcompress.compression.run import Convert, Source, check_target, factorize_file
from lrcompress.compression.selection import find_targets
from lrcompress.errors import DatasetError, RankError
from lrcompress.lowrank import one_blas_thread
from lrcompress.modelfile import made_of, model_of, open_model
from lrcompress.records.results import FactorizeResult
from lrcompress.records.runs import read as read_record
from lrcompress.records.runs import updating
from lrcompress.verbs.calibration import DataOptions, open_live
from lrcompress.verbs.live_models import loaded, takes_live_models
from lrcompress.verbs.modernize import convert, modern_copy, needs_modern_terms


@one_blas_thread()
@takes_live_models("factorized.keras")
def factorize(
    model: Any,  # noqa: ANN401  # a path, or a Keras model, which this room cannot name
    *,
    rank: int | None = None,
    energy: float | None = None,
    reduction: float | None = None,
    max_drop: float | None = None,
    method: str = "auto",
    layer: Any = None,  # noqa: ANN401  # names or layers, one or several
    layers: Literal["dense"] | None = None,
    add_bias: bool = False,
    output: str | Path | None = None,
    dataset: Any = None,  # noqa: ANN401  # a name, or data in any arrangement
    data_dir: str | Path | None = None,
    validation: Any = None,  # noqa: ANN401
    scaling: str | None = None,
    samples: int | None = None,
    overwrite: bool = False,
    force: bool = False,
    modernize: bool = False,
    seed: int = 0,
) -> FactorizeResult:
    """Replace the kernel A (m, n) of the final Dense layer by B (m, r) C (r, n).

    The new file holds two stock Dense layers in the place of one and is otherwise the same, bit
    for bit; it is read back and checked before it is put in place. Keras is loaded only with
    `dataset`, or for a model in memory.

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file, or a Keras model in memory.
        rank: r. At most one of `rank`, `energy`, `reduction` and `max_drop`.
        energy: Smallest r that keeps this share of the squared singular values.
        reduction: Largest r that saves at least this share of the layer's kernel.
        max_drop: Smallest r that loses at most so many percentage points on held-out data.
        method: auto, svd, centered, whitened or refined.
        layer: Another Dense layer than the final one, or several, by name or the layers themselves; ranks
            are then shared out under one `energy`, `reduction` or `max_drop`.
        layers: ``"dense"`` for every Dense layer that can be made smaller.
        add_bias: Allow a layer without bias to be given one, with the methods that use data.
        output: Default ``<stem>-rank<r><suffix>`` in the current directory; for a model in
            memory nothing is kept on disk unless it is given.
        dataset: Name, `.npz` file, image folder or ``package.module:function``; or the data themselves:
            arrays, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a PyTorch `DataLoader`, see
            docs/datasets.md. Without labels, agreement with the original takes the place of errors.
        data_dir: First folder in which a named data set is sought.
        validation: A `.npz` file to choose on, with ``x_val`` and ``y_val`` or ``x`` and ``y``, new to
            the model; default the data set's own ``x_val``, or a held-out tenth of the training data.
        scaling: as-is, /255, caffe, ...; default the model's own, or detected, see docs/datasets.md.
        samples: Calibration inputs; default 5,000, and all of them for `refined`.
        overwrite: Replace an existing output.
        force: Allow a rank that saves nothing.
        modernize: Put an old file in the terms of Keras 3 first; see `lrcompress.modernize`.
        seed: Of the held-out split and of refinement.

    Raises:
        RankError: If the rank does not fit the kernel or would save nothing.
        KernelError: If the kernel holds NaN or infinity.
        ModelFileError: If the file cannot be read.
        UnsupportedModelError: If there is no Dense layer that can be factorized.
        OutputError: If the output exists, is the input, or cannot be written.
        DatasetError: If the data set is missing or does not fit the model.
        VerificationError: If the written file differs from what was meant.
    """
    if layers not in (None, "dense") or (layers and layer):
        msg = f"Received layers={layers!r} and layer={layer!r}; expected layers='dense', or the names in layer."
        raise RankError(msg, code="bad_layers")
    request = Request(
        output=None if output is None else Path(output),
        layers=(layer,) if isinstance(layer, str) else tuple(layer or ()),
        every_dense=layers == "dense",
        add_bias=add_bias,
        rank=rank,
        energy=energy,
        reduction=reduction,
        max_drop=max_drop,
        method=method,
        overwrite=overwrite,
        force=force,
        modernize=modernize,
        seed=seed,
    )
    path = Path(model)
    if dataset is None and any(
        given is not None for given in (data_dir, scaling, samples, validation)
    ):
        msg = "data_dir, validation, scaling and samples say how to use a data set, but none was given; add --dataset."
        raise DatasetError(msg, code="no_dataset")
    with _source(path, request) as source:
        if dataset is None:
            convert = _converter(path)
            result = factorize_file(source, request, convert=convert)
            result.model = None if result.output is None else loaded(result.output)
            return result
        options = DataOptions(dataset, data_dir, scaling, samples, seed, validation)
        return _factorize_with_data(source, request, options)


@contextlib.contextmanager
def _source(path: Path, request: Request) -> Iterator[Source]:
    """Open a model file, and refuse what cannot work before a copy is made or Keras starts."""
    opened = open_model(path)
    targets, _ = find_targets(opened, request)
    if len(targets) == 1 and not request.force:
        check_layer(targets[0].layer, request.rank or 1)
    if request.output is not None:
        check_target(request.output, path, request)
    if not (request.modernize or needs_modern_terms(opened, request.output)):
        yield Source(opened, opened)
        return
    with modern_copy(opened) as (copy, made):
        yield Source(opened, copy, made.changes, made.warnings, made.optimizer_bytes)


def _converter(original: Path) -> Convert:
    """Return a function that saves what was made of an original in the other format, through Keras."""

    def converted(source: Path, target: Path, overwrite: bool) -> None:  # as `Convert` has it
        live = model_of(original)
        with contextlib.nullcontext() if live is None else made_of(live, source):
            convert(source, target, overwrite=overwrite)

    return converted


def _factorize_with_data(
    source: Source,
    request: Request,
    options: DataOptions,
) -> FactorizeResult:
    targets, _ = find_targets(source.model, request)
    live = open_live(source.model.path, source.model, options)
    if request.max_drop is not None:
        live.check_drop(targets)
    calibration, samples = live.calibration(
        targets, [request.method], with_network=len(targets) > 1
    )
    from lrcompress.live import engine
    from lrcompress.live.evaluate import evaluate
    from lrcompress.live.prepare import about_memory
    from lrcompress.measure.evaluation import compare
    from lrcompress.measure.rare import lost_classes

    # Before anything is written: an original that gives no numbers on these data is refused.
    (x, y), weights = live.data.test(), live.data.split.w_test
    before = evaluate(live.keras_model, x, y, "test, original", sample_weight=weights)
    result = factorize_file(
        source, request, calibration=calibration,
        dataset=live.described(samples),
        convert=_converter(source.file.path),
    )  # fmt: skip
    output, record_path = result.output, result.record
    if output is None or record_path is None:
        raise AssertionError  # of a file
    small = engine.load_model(output)
    result.model = None if model_of(output) is None else small
    after = evaluate(small, x, y, "test, factorized", sample_weight=weights)
    told = live.data.told
    result.measured_before, result.measured_after = told(before.to_json()), told(after.to_json())
    result.error_rate_before = result.measured_before.get("error_rate")
    result.error_rate_after = result.measured_after.get("error_rate")
    result.drop = told(compare(before, after).to_json())
    remarks = live.data.notes() + lost_classes(before, after)
    if any(layer.choice.rule == "max_drop" for layer in result.layers):
        remarks += about_memory(live.keras_model, live.data, before)
    result.warnings += remarks
    with updating(read_record(record_path)) as (record, _):
        record.set_stage(
            "original", source.file.path, result.parameters_before, **result.measured_before
        )
        record.set_stage(
            "factorized", output, result.parameters_after, **result.measured_after, drop=result.drop
        )
        record.document["warnings"] = [*record.document.get("warnings", []), *remarks]
    return result
