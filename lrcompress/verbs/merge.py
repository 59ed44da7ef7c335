"""`merge`: layers in a row that are one become one again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrcompress.compression import check_suffix, default_output
from lrcompress.errors import UnsupportedModelError
from lrcompress.files import check_output, names
from lrcompress.lowrank import one_blas_thread
from lrcompress.modelfile import ModelFile, find_sites, open_model, write_merged
from lrcompress.records.results import Shown
from lrcompress.verbs.context import record_beside
from lrcompress.verbs.in_memory import check_file
from lrcompress.verbs.networks import words_of

if TYPE_CHECKING:
    from lrcompress.modelfile import Chain


@dataclass(frozen=True)
class MergedLayer:
    """Layers in a row that became one.

    Attributes:
        name: Name of the last, kept by the one.
        path: The name behind those of the nested models the layer stands in.
        class_name: Of the one.
        first_name: Name of the first of the others, which are gone.
        first_names: Names of all of them, in their order.
        kernel_shape: (m, n) of the one kernel B C; of other layers than Dense the shape of their first array.
        rank: r, what the last takes in of the one before it.
        dtype: Of the stored kernels.
        parameters_before: Of all, biases included.
        parameters_after: Of the one, its bias included.
    """

    name: str
    path: str
    class_name: str
    first_name: str
    first_names: tuple[str, ...]
    kernel_shape: tuple[int, ...]
    rank: int
    dtype: str
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True, repr=False)
class MergeResult(Shown):
    """What `merge` did.

    Attributes:
        input: The old file, untouched.
        output: The new file.
        layers: One entry for each layer that is one again.
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

    def facts(self) -> dict[str, str]:
        """Return which layers are one again."""
        return {
            "layers": ", ".join(layer.path for layer in self.layers),
            "parameters": f"{self.parameters_before:,} to {self.parameters_after:,}",
            "output": str(self.output),
        }


@one_blas_thread()
def merge(
    model: str | Path,
    *,
    layer: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> MergeResult:
    """Multiply the factors B (m, r) and C (r, n) of two layers into one kernel (m, n).

    The inverse of `factorize`, in every form that is layers in a row: the model computes the same, up
    to rounding, with one layer in the place of several. Layers that only got narrower stay. Everything
    else in the file stays as it is, bit for bit, but for the optimizer's state, which is left out;
    Keras is not loaded.
    Layers in a row are one where each but the last has no activation, feeds the next alone and is no
    wider than a factor of full rank, whoever split them. A bias of a first Dense is folded into that
    of the second.

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file.
        layer: Name of one of the layers in a row, or several; the default is the final Dense, and all
            where the run record says that the whole network was made smaller.
        layers: ``"all"``, families (``"dense"``, ``"conv"``, ...), names or paths.
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
    named = [layer] if isinstance(layer, str) else list(layer or ())
    found = _wanted(opened, named, words_of(layers))
    target = Path(output) if output is not None else default_output(opened, path, names.MERGED)
    check_suffix(target, opened, can_convert=False)
    check_output(target, inputs=(path,), overwrite=overwrite)
    written = write_merged(opened, found, target, overwrite=overwrite)
    return MergeResult(
        input=path,
        output=target,
        layers=tuple(_describe(one) for one in found),
        parameters_before=opened.parameters,
        parameters_after=written.parameters,
        bytes_before=opened.size,
        bytes_after=written.size,
        optimizer_bytes=written.optimizer_bytes,
        optimizer_bytes_after=written.optimizer_bytes_after,
        warnings=written.warnings,
    )


def _wanted(opened: ModelFile, names: Sequence[str], words: Sequence[str]) -> Sequence[Chain]:
    """Return the layers in a row that names and words mean, each once; without any what `merge` says."""
    if not names and not words:
        record = record_beside(opened.path)
        if record is None or not any(layer.get("form") for layer in record.document["layers"]):
            return [_pair(opened, None)]
        words = ("all",)
    from lrcompress.kinds.registry import FAMILIES
    from lrcompress.modelfile import find_chains

    chains = find_chains(opened)
    names = [*names, *(word for word in words if word not in ("all", *FAMILIES))]
    lost = [name for name in names if not any(chain.is_named(name) for chain in chains)]
    pairs = [_pair(opened, name, chains) for name in lost]
    found = [chain for chain in chains if chain.is_meant(words) or any(map(chain.is_named, names))]
    if not found and not pairs:
        which = "" if "all" in words else f" of {', '.join(words)}"
        msg = (
            f"{opened.path} has no layers{which} in a row that are one; there is nothing to merge."
        )
        raise UnsupportedModelError(msg, code="not_split")
    return [*found, *pairs]


def _pair(opened: ModelFile, name: str | None, chains: Sequence[Chain] | None = None) -> Chain:
    """Return two Dense layers that are one; refuse a layer that is none, and say which there are."""
    (found,) = find_sites(opened, [name])
    from lrcompress.modelfile import find_chains, pair_of

    if found.rank is not None:
        return pair_of(opened, found)
    paths = [chain.path for chain in (find_chains(opened) if chains is None else chains)]
    more = f": choose with --layer: {', '.join(paths[:3])}" if paths else "; this model has no such"
    msg = (
        f"Layer {found.path} of {opened.path} is one Dense; expected two in a row that are one "
        f"matrix, the first without activation and feeding the second alone{more}."
    )
    raise UnsupportedModelError(msg, code="not_split")


def _describe(chain: Chain) -> MergedLayer:
    names = tuple(path.rpartition("/")[2] for path in chain.gone)
    return MergedLayer(
        name=chain.path.rpartition("/")[2],
        path=chain.path,
        class_name=chain.whole.class_name,
        first_name=names[0],
        first_names=names,
        kernel_shape=tuple(chain.whole.arrays[0].shape),
        rank=chain.rank,
        dtype=chain.dtype,
        parameters_before=sum(array.size for part in chain.parts for array in part.arrays),
        parameters_after=sum(array.size for array in chain.whole.arrays),
    )
