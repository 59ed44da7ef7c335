"""`factorize`: the final Dense layer of a model becomes two smaller ones, or all layers get smaller."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.compression import (
    RULES,
    Convert,
    Request,
    Source,
    check_layer,
    check_target,
    drop_rule,
    factorize_file,
    find_source,
    needs_modern_terms,
    pick,
)
from lrcompress.errors import DatasetError
from lrcompress.lowrank import one_blas_thread
from lrcompress.modelfile import check_has_sites, kept_open, made_of, model_of, open_model
from lrcompress.records import runs
from lrcompress.records.provenance import name_of
from lrcompress.records.results import FactorizeResult, LayerResult
from lrcompress.verbs.in_memory import loaded, takes_live_models

if TYPE_CHECKING:
    from lrcompress.verbs.context import DataSource


def given(**options: Any) -> dict[str, Any]:  # noqa: ANN401  # as a user gave them
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


@one_blas_thread()
@takes_live_models("factorized.keras")
def factorize(
    model: Any,  # noqa: ANN401  # a path, or a Keras model, which this room cannot name
    *,
    architecture: str | Path | None = None,
    rank: int | None = None,
    energy: float | None = None,
    reduction: float | None = None,
    multiplications: float | None = None,
    target_size: int | str | None = None,
    max_drop: float | str | None = None,
    multiple: int = 1,
    method: str = "auto",
    layer: Any = None,  # noqa: ANN401  # names or layers, one or several
    layers: str | Sequence[str] | None = None,
    add_bias: bool = False,
    output: str | Path | None = None,
    dataset: Any = None,  # noqa: ANN401  # a name, or data in any arrangement
    data_dir: str | Path | None = None,
    validation: Any = None,  # noqa: ANN401
    scaling: str | None = None,
    samples: int | None = None,
    synthetic: bool = True,
    overwrite: bool = False,
    force: bool = False,
    modernize: bool = False,
    seed: int = 0,
    progress: bool = False,
    **rules: float,
) -> FactorizeResult:
    """Replace the kernel A (m, n) of the final Dense layer by B (m, r) C (r, n), or make all layers smaller.

    The new file holds two stock Dense layers in the place of one and is otherwise the same, bit
    for bit, but for the optimizer's state, which is left out; it is read back and checked before
    it is put in place. Keras is loaded only with `dataset`, or for a model in memory.

    With `layers` any layers of the network get smaller under one budget, each in the form that serves
    it best; see docs/whole-networks.md. Without data, a network with BatchNormalization is then measured
    on synthetic inputs, for which Keras is loaded; of others nothing is measured.

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file, or a Keras model in memory.
        architecture: Where the file holds weights alone: a file of what `model.to_json()` returned. Both are
            written as ``<stem>-whole.h5`` or ``.keras`` in the current directory, which then is the model.
        rank: r. At most one of `rank`, `energy`, `reduction`, `multiplications`, `target_size` and
            `max_drop`.
        energy: Smallest r that keeps this share of the squared singular values.
        reduction: Share of the parameters to save: of the whole model with `layers`; of one layer's kernel
            without.
        multiplications: Share of the multiplications to save, with `layers`.
        target_size: Size of the file, in bytes or as ``"200kB"``, with `layers`.
        max_drop: Smallest r that loses at most so many percentage points on held-out data (0.5), or of a
            language model so much of its perplexity (``"1%"``).
        multiple: Ranks and other sizes are multiples of this where they can be, with `layers`.
        method: auto, svd, centered, whitened, weighted or refined.
        layer: Another Dense layer than the final one, by name or the layer itself; several are several
            `layers`, or go with `rank`.
        layers: ``"all"``, families (``"dense"``, ``"conv"``, ...), names or paths of layers; one or several,
            also separated by commas. With `rank` or a `method` only ``"dense"``.
        add_bias: Allow a layer without bias to be given one, with the methods that use data.
        output: Default ``<stem>-rank<r><suffix>``, with `layers` ``<stem>-lowrank<suffix>``, in the current
            directory; for a model in memory nothing is kept on disk unless it is given.
        dataset: Name, `.npz` file, image folder or ``package.module:function``; or the data themselves:
            arrays, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a PyTorch `DataLoader`, see
            docs/datasets.md. Without labels, agreement with the original takes the place of errors.
        data_dir: First folder in which a named data set is sought.
        validation: A `.npz` file to choose on, with ``x_val`` and ``y_val`` or ``x`` and ``y``, new to
            the model; default the data set's own ``x_val``, or a held-out tenth of the training data.
        scaling: as-is, /255, caffe, ...; default the model's own, or detected, see docs/datasets.md.
        samples: Calibration inputs; default 3,000 with `layers`, else 5,000, and all of them for `refined`.
        synthetic: Whether `layers` may be measured on synthetic inputs where there are no data.
        overwrite: Replace an existing output.
        force: Allow a rank that saves nothing.
        modernize: Put an old file in the terms of Keras 3 first; see `lrcompress.modernize`.
        seed: Of the held-out split and of refinement.
        progress: Show on stderr how far it is.
        rules: A further rule of `lrcompress.compression.choose.RULES` by its name.

    Raises:
        RankError: If the rank does not fit the kernel or would save nothing.
        KernelError: If the kernel holds NaN or infinity.
        ModelFileError: If the file cannot be read.
        UnsupportedModelError: If there is no layer of that name that can be factorized.
        OutputError: If the output exists, is the input, or cannot be written.
        DatasetError: If the data set is missing or does not fit the model.
        VerificationError: If the written file differs from what was meant.
    """
    for name in rules:
        if name not in RULES:
            msg = f"factorize() got an unexpected keyword argument {name!r}"
            raise TypeError(msg)
    drop = {} if max_drop is None else dict([drop_rule(max_drop)])
    budgets = rules | given(
        rank=rank, energy=energy, reduction=reduction, **drop,
        multiplications=multiplications, target_size=target_size,
    )  # fmt: skip
    names = (layer,) if isinstance(layer, str) else tuple(layer or ())
    words: tuple[str, ...] = ()
    network = None
    if layers or len(names) > 1 or multiple != 1 or not budgets.keys() <= RULES.keys():
        from lrcompress.verbs.networks import network_request, words_of

        words = words_of(layers)
        network = network_request(
            words, names, budgets, multiple=multiple,
            by_matrix=method != "auto" or add_bias,
        )  # fmt: skip
    request = Request(
        rules={} if network else budgets,
        output=None if output is None else Path(output),
        layers=() if network else names,
        every_dense=bool(words) and network is None,
        add_bias=add_bias,
        method=method,
        overwrite=overwrite,
        force=force,
        modernize=modernize,
        seed=seed,
        network=network,
    )
    how = (data_dir, scaling, samples, validation)
    if dataset is None and any(one is not None for one in how):
        msg = "data_dir, validation, scaling and samples say how to use a data set, but none was given; add --dataset."
        raise DatasetError(msg, code="no_dataset")
    with _source(Path(model), request, has_data=dataset is not None) as source:
        if dataset is None:
            if network is None:
                result = factorize_file(source, request, _converter(source))
            else:
                from lrcompress.verbs.networks.compress import without_data

                result = without_data(source, request, _converter(source), synthetic=synthetic)
            result.model = None if result.output is None else loaded(result.output)
            return result
        from lrcompress.verbs.context import find_data

        data = find_data(
            dataset, data_dir, scaling, source.model.origin, seed=seed, validation=validation
        )
        return _factorize_with_data(source, request, data, samples)


@contextlib.contextmanager
def _source(path: Path, request: Request, *, has_data: bool) -> Iterator[Source]:
    """Open a model file, and refuse what cannot work before a copy is made or Keras starts."""
    with contextlib.ExitStack() as stack:
        # With data a run may take hours, in which whoever trains the model must be able to save it.
        if not has_data:
            stack.enter_context(kept_open(path))
        opened = open_model(path)
        if request.network is not None and request.network.layers == ("dense",):
            check_has_sites(opened)
        source = find_source(opened, request)
        asked = pick(request, "points" if has_data else None)
        if len(source.targets) == 1 and not request.force:
            check_layer(source.targets[0].layer, asked.least)
        if request.output is not None:
            check_target(request.output, opened, request)
        if request.modernize or needs_modern_terms(opened, request.output):
            from lrcompress.verbs.modernize import modern_copy

            copy, notes = stack.enter_context(modern_copy(opened))
            source = dataclasses.replace(
                find_source(copy, request), file=opened,
                changes=notes.changes, warnings=notes.warnings, optimizer_bytes=opened.optimizer_bytes,
            )  # fmt: skip
        yield source


def _converter(source: Source) -> Convert:
    """Return a function that saves what was made of a source in the other format, through Keras."""

    def converted(made: Path, target: Path, overwrite: bool) -> None:  # as `Convert` has it
        from lrcompress.verbs.modernize import convert

        with made_of(model_of(source.file.path), made):
            convert(made, target, overwrite=overwrite)

    return converted


def _factorize_with_data(
    source: Source, request: Request, data: DataSource, samples: int | None
) -> FactorizeResult:
    from lrcompress.verbs.context import open_live

    live = open_live(source.model, data, samples)
    for rule in request.rules:
        if RULES[rule].by_errors:
            live.check_drop(source.targets, name_of(data.dataset), rule)
    known = None if request.network else live.calibration(source.targets, [request.method])
    from lrcompress.live import storing
    from lrcompress.live.prepare import about_memory
    from lrcompress.measure import compare, lost_classes

    # Before anything is written: an original that gives no numbers on these data is refused.
    before = live.data.measured(live.keras_model, "test, original")
    convert = _converter(source)
    if known is None:
        from lrcompress.verbs.networks.compress import with_data

        result = with_data(source, request, convert, live)
    else:
        calibration, used = known
        result = factorize_file(
            source, request, convert, calibration=calibration, dataset=live.described(used)
        )
    if result.output is None or result.record is None:
        raise AssertionError  # of a file
    small = storing.load_model(result.output)
    result.model = None if model_of(result.output) is None else small
    after = live.data.measured(small, "test, factorized")
    told = live.data.told
    result.measured_before, result.measured_after = told(before.to_json()), told(after.to_json())
    result.error_rate_before = result.measured_before.get("error_rate")
    result.error_rate_after = result.measured_after.get("error_rate")
    result.drop = told(compare(before, after).to_json())
    remarks = live.data.notes() + lost_classes(before, after)
    if _chosen_by_errors(result):
        remarks += about_memory(live.keras_model, live.data, before)
    result.warnings += remarks
    with runs.updating(runs.read(result.record)) as (record, _):
        record.set_stage(
            "original", source.file.path, result.parameters_before, **result.measured_before
        )
        record.set_stage(
            "factorized", result.output, result.parameters_after,
            **result.measured_after, drop=result.drop,
        )  # fmt: skip
        record.document["warnings"] = [*record.document.get("warnings", []), *remarks]
    return result


def _chosen_by_errors(result: FactorizeResult) -> bool:
    """Return whether errors on held-out data decided how small layers are."""
    if result.network is not None:
        name = (result.network.budget or {}).get("name")
        return name in RULES and RULES[name].by_errors
    choices = [layer.choice for layer in result.layers if isinstance(layer, LayerResult)]
    return any(RULES[choice.rule].by_errors for choice in choices)
