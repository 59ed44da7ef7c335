"""`merge`: two Dense layers that are one matrix become one again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lrcompress.compression import check_suffix, default_output
from lrcompress.errors import UnsupportedModelError
from lrcompress.files import check_output
from lrcompress.lowrank import one_blas_thread
from lrcompress.modelfile import (
    ModelFile,
    Site,
    find_sites,
    open_model,
    write_merged,
)
from lrcompress.records.results import Document
from lrcompress.verbs.live_models import check_file


@dataclass(frozen=True)
class MergedLayer:
    """Two Dense layers that became one.

    Attributes:
        name: Name of the second, kept by the one.
        path: The name behind those of the nested models the layer stands in.
        first_name: Name of the first, which is gone.
        kernel_shape: (m, n) of the one kernel B C.
        rank: r, the width between the two.
        dtype: Of the stored kernels.
        parameters_before: Of the two, biases included.
        parameters_after: Of the one, its bias included.
    """

    name: str
    path: str
    first_name: str
    kernel_shape: tuple[int, int]
    rank: int
    dtype: str
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True)
class MergeResult(Document):
    """What `merge` did.

    Attributes:
        input: The old file, untouched.
        output: The new file.
        layers: One entry a merged pair.
        parameters_before: Of the whole model.
        parameters_after: Of the whole model.
        bytes_before: File size.
        bytes_after: File size.
        optimizer_bytes: Stored optimizer state of the old file.
        optimizer_bytes_after: Of the new one.
        warnings: What the user should know.
    """

    input: Path
    output: Path
    layers: tuple[MergedLayer, ...]
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    optimizer_bytes: int
    optimizer_bytes_after: int
    warnings: tuple[str, ...]


@one_blas_thread()
def merge(
    model: str | Path,
    *,
    layer: str | Sequence[str] | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> MergeResult:
    """Multiply the factors B (m, r) and C (r, n) of two Dense layers into one kernel (m, n).

    The inverse of `factorize`: the model computes the same, up to rounding, with one layer in the
    place of two. Everything else in the file stays as it is, bit for bit, but for the optimizer's
    state, which is left out; Keras is not loaded.
    Two layers are a pair where the first has no activation and feeds the second alone, whoever
    split them. A bias of the first is folded into that of the second.

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file.
        layer: Name of either layer of a pair, or several; the default is the final one.
        output: Default ``<stem>-merged<suffix>`` in the current directory.
        overwrite: Replace an existing output.

    Raises:
        KernelError: If the product is not finite, or too large for the stored type.
        ModelFileError: If the file cannot be read.
        UnsupportedModelError: If a layer is not there, or is not split (code ``not_split``).
        OutputError: If the output exists, is the input, or cannot be written.
        VerificationError: If the written file differs from what was meant.
    """
    check_file(model, "merge")
    path = Path(model)
    opened = open_model(path)
    named: Sequence[str | None] = [layer] if isinstance(layer, str) else layer or [None]
    # Either name of a pair will do, and so may both.
    pairs = list({found.path: found for found in find_sites(opened, named)}.values())
    for found in pairs:
        _check_pair(opened, found)
    target = Path(output) if output is not None else default_output(opened, path, "-merged")
    check_suffix(target, opened, can_convert=False)
    check_output(target, inputs=(path,), overwrite=overwrite)
    written = write_merged(opened, pairs, target, overwrite=overwrite)
    return MergeResult(
        input=path,
        output=target,
        layers=tuple(_describe(pair) for pair in pairs),
        parameters_before=opened.parameters,
        parameters_after=written.parameters,
        bytes_before=opened.size,
        bytes_after=written.size,
        optimizer_bytes=written.optimizer_bytes,
        optimizer_bytes_after=written.optimizer_bytes_after,
        warnings=written.warnings,
    )


def _check_pair(opened: ModelFile, found: Site) -> None:
    """Refuse a layer that is no pair, and say which pairs there are."""
    if found.first is not None:
        return
    pairs = [layer.path for layer in opened.sites if layer.first is not None]
    more = f": choose with --layer: {', '.join(pairs[:3])}" if pairs else "; this model has no such"
    msg = (
        f"Layer {found.path} of {opened.path} is one Dense; expected two in a row that are one "
        f"matrix, the first without activation and feeding the second alone{more}."
    )
    raise UnsupportedModelError(msg, code="not_split")


def _describe(pair: Site) -> MergedLayer:
    m, n = pair.kernel_shape
    return MergedLayer(
        name=pair.name,
        path=pair.path,
        first_name="" if pair.first is None else pair.first.name,
        kernel_shape=(m, n),
        rank=pair.rank or 0,
        dtype=pair.dtype,
        parameters_before=pair.stored_parameters,
        parameters_after=m * n + (n if pair.use_bias else 0),
    )
