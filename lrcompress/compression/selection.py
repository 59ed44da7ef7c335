"""Which Dense layers are factorized, and which are worth it where none was named."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lrcompress.compression.layer import LayerTask, Request, Target
from lrcompress.errors import RankError, UnsupportedModelError, listed
from lrcompress.lowrank import largest_useful_rank
from lrcompress.modelfile import (
    ModelFile,
    Site,
    check_has_sites,
    find_head,
    find_sites,
    head_paths,
    not_finite,
)


def largest_useful(layer: Site) -> int:
    """Return the largest rank that makes a layer smaller, 0 if none does."""
    return largest_useful_rank(*layer.kernel_shape, layer.rank)


def find_targets(model: ModelFile, request: Request) -> tuple[list[Target], list[str]]:
    """Return the layers to factorize, and a remark on each Dense that cannot be.

    Raises:
        UnsupportedModelError: If a named layer, or the head where none is named, is not there.
        RankError: If a layer is named twice, or none can be made smaller.
    """
    if not request.every_dense and not request.layers:
        return [Target(_final(model, request), is_head=True)], []
    heads = head_paths(model)
    if request.layers:
        named = find_sites(model, request.layers)
        if len({layer.path for layer in named}) < len(named):
            msg = f"Received layers {', '.join(request.layers)}; expected each once."
            raise RankError(msg, code="layer_twice")
        return [Target(layer, layer.path in heads) for layer in named], []
    check_has_sites(model)
    dense, refused = model.sites, model.refused
    useful = [layer for layer in dense if largest_useful(layer)]
    if not useful and refused:
        raise next(iter(refused.values()))
    left = [layer.path for layer in dense if not largest_useful(layer)]
    if not useful:
        msg = (
            f"{model.path} has no Dense layer that a lower rank makes smaller: "
            f"{listed(left)} {'is' if len(left) == 1 else 'are'} too small; nothing to do."
        )
        raise RankError(msg, code="nothing_to_gain")
    remarks = [f"Too small for any rank to save something: {', '.join(left)}."] if left else []
    remarks += [f"Left as it is: {error}" for error in refused.values()]
    return [Target(layer, layer.path in heads) for layer in useful], remarks


def _final(model: ModelFile, request: Request) -> Site:
    """Return the final Dense; where it is not there or nothing to gain, say which layers are worth it.

    Raises:
        UnsupportedModelError: If there is no one final Dense.
        RankError: If no rank makes it smaller.
    """
    try:
        head = find_head(model)
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
        f" Worth it: {listed([layer.path for layer in useful])} ({share:.1f} % of the parameters), by: "
        f"lrcompress factorize {shlex.quote(str(model.path))} {choice}"
    )


def finite(
    model: ModelFile, tasks: Sequence[LayerTask], request: Request
) -> tuple[list[LayerTask], list[str]]:
    """Return the layers whose kernels can be factorized, and a remark on each that is left out.

    Raises:
        KernelError: If a layer that was named, or every layer, holds NaN or infinity.
    """
    wrong = not_finite(model) if request.every_dense and len(tasks) > 1 else {}
    kept, remarks = [], []
    for task in tasks:
        paths = [task.target.layer.path, task.target.layer.input_path]
        if not any(path in wrong for path in paths):
            kept.append(task)
            continue
        remarks.append(
            f"Layer {paths[0]} is left as it is: {sum(wrong.get(p, 0) for p in {*paths}):,} of its numbers "
            "are NaN or infinity."
        )
    return kept or list(tasks), remarks if kept else []
