"""Write a model file anew with some layers changed, and prove that only these are."""

from __future__ import annotations

from pathlib import Path

from lrcompress.errors import LRCompressError, UnsupportedModelError, VerificationError
from lrcompress.files import check_output, replacing, sha256_meanwhile
from lrcompress.modelfile.container import opened
from lrcompress.modelfile.find import find_sites
from lrcompress.modelfile.graph import build
from lrcompress.modelfile.model import ModelFile, Written
from lrcompress.modelfile.read import changed, describe
from lrcompress.modelfile.rewrite.changes import Changes
from lrcompress.modelfile.rewrite.planning import plan_config, plan_origin, plan_weights
from lrcompress.modelfile.rewrite.verify import read_back
from lrcompress.modelfile.rewrite.write import write_model
from lrcompress.modelfile.sniff import SUFFIXES
from lrcompress.modelfile.untrusted import decoding


def check_place(model: ModelFile, output: Path, *, overwrite: bool) -> Path:
    """Refuse, before any work, an output that cannot be and a model that cannot be edited.

    Returns:
        The output.

    Raises:
        OutputError: If the output exists, is the input, or cannot be written.
        UnsupportedModelError: If the weights do not follow the architecture.
    """
    output = Path(output)
    check_output(output, inputs=(model.path,), overwrite=overwrite)
    if model.weights.problem is not None:
        msg = (
            f"The weights in {model.path} do not follow its architecture ({model.weights.problem});"
            " expected them in Keras' order: load the model in its own Keras and save it again."
        )
        raise UnsupportedModelError(msg, code="config")
    return output


def rewrite(
    model: ModelFile,
    changes: Changes,
    output: Path,
    first_names: dict[str, str],
    *,
    overwrite: bool,
) -> Written:
    """Write a changed copy of a model file, read it back and put it in place.

    Args:
        model: The file to start from.
        changes: What becomes of its layers.
        output: Where to write.
        first_names: Name of the first of two layers by path of the second, to be handed on.
        overwrite: Whether an existing `output` is replaced.

    Raises:
        OutputError: If the output cannot be written.
        ModelFileError: If the input cannot be read or has changed since `model` was read.
        UnsupportedModelError: If the place of an array is not certain.
        VerificationError: If the written file is not what was meant.
    """
    with opened(model.path) as source:
        with decoding(model.path):
            now = describe(model.path, source)
            tree = build(changes.config)
            if tree is None or (now.stamp, now.config) != (model.stamp, model.config):
                raise changed(model.path)
            plan, warnings = plan_weights(model, tree, source.weights, changes)
            plan_config(plan, model.format, changes.config)
            plan_origin(plan, model, source)
        with replacing(output, overwrite=overwrite, like=model.path) as temporary:
            write_model(source, model.weights.index, plan, temporary, model.path)
            with sha256_meanwhile(temporary) as digest:
                written = read_back(source, model, plan, temporary, output)
                _check(model, written, changes, output)
                sha256 = digest()
    return Written(
        path=output,
        size=written.size,
        sha256=sha256,
        optimizer_bytes=model.optimizer_bytes,
        optimizer_bytes_after=written.optimizer_bytes,
        parameters=written.parameters,
        first_names=first_names,
        warnings=(*changes.warnings, *warnings, *_about_suffix(model, output)),
    )


def _check(model: ModelFile, written: ModelFile, changes: Changes, output: Path) -> None:
    """Compare the architecture that was read back with the one meant."""
    msg = f"{output} was not written: its architecture does not read back; please report this."
    if written.config != changes.config or written.weights.problem != model.weights.problem:
        raise VerificationError(msg)
    try:
        changed_layers = {*changes.firsts, *changes.kernels, *(path for path, _ in changes.values)}
        find_sites(written, ["/".join(path) for path in changed_layers])
    except LRCompressError as error:
        raise VerificationError(msg) from error


def _about_suffix(model: ModelFile, output: Path) -> list[str]:
    """Return a sentence if Keras would take the output, by its suffix, for something else."""
    fitting = SUFFIXES[model.format]
    if output.suffix.lower() in fitting:
        return []
    kind = "HDF5" if model.format == "hdf5" else "a .keras archive"
    return [
        f"{output.name} is {kind}, but Keras goes by the suffix: name it {fitting[0]} to load it."
    ]
