"""What was asked of `factorize`: which layers, by which rule, by which method, and where to."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from lrcompress import modelfile
from lrcompress.errors import OutputError, RankError, UnsupportedModelError, first_three
from lrcompress.lowrank import check_rank, largest_useful_rank
from lrcompress.modelfile import SUFFIXES, ModelFile, Site

if TYPE_CHECKING:
    from lrcompress.compression.network import NetworkRequest


@dataclass(frozen=True)
class Request:
    """What the user asked for; the defaults are the command line's."""

    # By their names in `choose.RULES`; one at most is allowed.
    rules: Mapping[str, float] = field(default_factory=dict)
    output: Path | None = None
    layers: tuple[str, ...] = ()
    every_dense: bool = False
    method: str = "auto"
    add_bias: bool = False
    overwrite: bool = False
    force: bool = False
    modernize: bool = False
    seed: int = 0
    # Of layers of any kind under one budget; `rules` and `layers` are empty then.
    network: NetworkRequest | None = None


@dataclass(frozen=True)
class Target:
    """A Dense layer to be factorized."""

    layer: Site
    # The final Dense, or that of one of several outputs: its objective is that output.
    is_head: bool


def largest_useful(layer: Site) -> int:
    """Return the largest rank that makes a layer smaller, 0 if none does."""
    return largest_useful_rank(*layer.kernel_shape, layer.rank)


def check_layer(layer: Site, rank: int, *, force: bool = False) -> None:
    """Refuse a rank that does not fit a layer or saves nothing; see `lowrank.check_rank`."""
    check_rank(rank, *layer.kernel_shape, split=layer.rank, force=force)


def find_targets(model: ModelFile, request: Request) -> tuple[list[Target], list[str]]:
    """Return the layers to factorize, and a remark on each Dense that cannot be."""
    if request.network is not None:
        return [], []
    if not request.every_dense and not request.layers:
        return [Target(_final(model, request), is_head=True)], []
    heads = modelfile.head_paths(model)
    if request.layers:
        named = modelfile.find_sites(model, request.layers)
        if len({layer.path for layer in named}) < len(named):
            msg = f"Received layers {', '.join(request.layers)}; expected each once."
            raise RankError(msg, code="layer_twice")
        return [Target(layer, layer.path in heads) for layer in named], []
    modelfile.check_has_sites(model)
    dense, refused = model.sites, model.refused
    useful = [layer for layer in dense if largest_useful(layer)]
    if not useful and refused:
        raise next(iter(refused.values()))
    left = [layer.path for layer in dense if not largest_useful(layer)]
    if not useful:
        msg = (
            f"{model.path} has no Dense layer that a lower rank makes smaller: "
            f"{first_three(left)} {'is' if len(left) == 1 else 'are'} too small; nothing to do."
        )
        raise RankError(msg, code="nothing_to_gain")
    remarks = [f"Too small for any rank to save something: {', '.join(left)}."] if left else []
    remarks += [f"Left as it is: {error}" for error in refused.values()]
    return [Target(layer, layer.path in heads) for layer in useful], remarks


def _final(model: ModelFile, request: Request) -> Site:
    """Return the final Dense; where it is not there or nothing to gain, say which layers are worth it."""
    try:
        head = modelfile.find_head(model)
    except UnsupportedModelError as error:
        msg = f"{error}{_worth_it(model)}"
        raise UnsupportedModelError(msg, code=error.code) from error
    if largest_useful(head) or request.force:
        return head
    m, n = head.kernel_shape
    worth = _worth_it(model) or " Nor can any other Dense layer of it: there is nothing to gain."
    split = f"{m} x {n}" if head.rank is None else f"{m} x {head.rank} x {n}"
    msg = f"{model.path} ends in Dense {head.path} ({split}), which cannot be made smaller.{worth}"
    raise RankError(msg, code="nothing_to_gain")


def _worth_it(model: ModelFile) -> str:
    """Return a sentence with the layers that are worth factorizing, and the command that does."""
    useful = [layer for layer in model.sites if largest_useful(layer)]
    if not useful or model.weights.problem is not None:
        return ""
    useful.sort(key=lambda layer: -layer.stored_parameters)
    share = 100 * sum(layer.stored_parameters for layer in useful) / max(model.parameters, 1)
    choice = "--layers dense" if len(useful) > 1 else f"--layer {shlex.quote(useful[0].path)}"
    return (
        f" Worth it: {first_three([layer.path for layer in useful])} ({share:.1f} % of the parameters), by: "
        f"lrcompress factorize {shlex.quote(str(model.path))} {choice}"
    )


def same_format(output: Path, model: ModelFile) -> bool:
    """Return whether an output's suffix names the format that a model file has."""
    return output.suffix.lower() in SUFFIXES[model.format]


def needs_modern_terms(opened: ModelFile, output: Path | None) -> bool:
    """Return whether a file has to be modernized for an output, which Keras 3 is to write."""
    if output is None or same_format(output, opened):
        return False
    return not (opened.keras_version or "1").startswith("3")


def default_output(model: ModelFile, path: Path, ending: str = "") -> Path:
    """Return ``<stem><ending><suffix>`` in the current directory."""
    # A .keras file that holds HDF5 cannot be loaded under that name.
    suffix = path.suffix if same_format(path, model) else SUFFIXES[model.format][0]
    return Path(f"{path.stem}{ending}{suffix}")


def check_suffix(output: Path, model: ModelFile, *, can_convert: bool) -> None:
    """Refuse an output whose suffix names a format that cannot be written."""
    allowed = [*chain(*(SUFFIXES.values() if can_convert else [SUFFIXES[model.format]]))]
    if output.suffix.lower() not in allowed:
        msg = f"Output {output} must end in {' or '.join(allowed)}, which decides its format."
        raise OutputError(msg, code="output_suffix")
