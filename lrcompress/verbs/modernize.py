"""`modernize`: an old model file in the terms of Keras 3."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrcompress.compression import check_suffix, default_output, same_format
from lrcompress.errors import TrainingError, in_place_of, one_line
from lrcompress.events import before_keras
from lrcompress.files import check_output, names
from lrcompress.modelfile import ModelFile, open_for_keras, open_model
from lrcompress.records.results import Shown
from lrcompress.verbs.in_memory import check_file

if TYPE_CHECKING:
    from lrcompress.modelfile.modern import Notes


@dataclass(frozen=True, repr=False)
class ModernizeResult(Shown):
    """What `modernize` did.

    Attributes:
        input: The old file, untouched.
        output: The new file.
        keras_version: What wrote the old file, None where it does not say.
        changes: What was rewritten, a line each; the model computes the same.
        warnings: What may differ, or what Keras 3 cannot load without the model's own code.
        bytes_before: File size.
        bytes_after: File size.
        optimizer_bytes: Optimizer state of the old file, which the new one does without.
        checked: Whether Keras has loaded the new file.
    """

    input: Path
    output: Path
    keras_version: str | None
    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    bytes_before: int
    bytes_after: int
    optimizer_bytes: int
    checked: bool

    def facts(self) -> dict[str, str]:
        """Return what was rewritten."""
        return {
            "written by": f"Keras {self.keras_version or 'of unknown age'}",
            "changes": str(len(self.changes)),
            "output": str(self.output),
        }


def modernize(
    model: str | Path,
    *,
    output: str | Path | None = None,
    check: bool = False,
    overwrite: bool = False,
) -> ModernizeResult:
    """Write a copy of an old model file that plain Keras 3 loads, as far as its layers allow.

    Configs, calls and compile settings of Keras 1 and 2 are put in the terms of Keras 3. Weights
    are copied bit by bit but for those that Keras 3 holds otherwise or computes with otherwise
    (one kernel for all gates, cuDNN layouts, Theano's mirrored kernels, `hard_sigmoid`); every
    change is named. Keras is loaded only for an output of the other format, and to check.

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file of any Keras.
        output: Default ``<stem>-keras3<suffix>`` in the current directory. Its suffix decides the
            format.
        check: Load the new file in Keras before it is put in place.
        overwrite: Replace an existing output.

    Raises:
        ModelFileError: If the file cannot be read.
        UnsupportedModelError: If it lists no layers, or its weights do not follow them.
        OutputError: If the output exists, is the input, or cannot be written.
        TrainingError: If Keras cannot load the result, which the other format and `check` need.
        VerificationError: If the written file differs from what was meant.
    """
    check_file(model, "modernize")
    path = Path(model)
    opened = open_model(path)
    target = Path(output) if output is not None else default_output(opened, path, names.KERAS3)
    check_suffix(target, opened, can_convert=True)
    check_output(target, inputs=(path,), overwrite=overwrite)
    is_same = same_format(target, opened)
    if check or not is_same:
        with modern_copy(opened) as (copy, notes):
            if is_same:
                _check(copy.path)
            else:
                convert(copy.path, target, overwrite=overwrite)
    if is_same:
        from lrcompress.modelfile.modern import write_modernized

        notes = write_modernized(opened, target, overwrite=overwrite)
    return ModernizeResult(
        input=path,
        output=target,
        keras_version=opened.keras_version,
        changes=notes.changes,
        warnings=notes.warnings,
        bytes_before=opened.size,
        bytes_after=target.stat().st_size,
        optimizer_bytes=opened.optimizer_bytes,
        checked=check or not is_same,
    )


@contextlib.contextmanager
def modern_copy(opened: ModelFile) -> Iterator[tuple[ModelFile, Notes]]:
    """Yield a temporary copy in the terms of Keras 3, called by the user's file in errors, and what was changed."""
    from lrcompress.modelfile.modern import write_modernized

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / default_output(opened, opened.path)
        with in_place_of(copy, opened.path):
            notes = write_modernized(opened, copy)
            yield open_model(copy), notes


def convert(source: Path, target: Path, *, overwrite: bool) -> None:
    """Save a model file in the other format, through Keras."""
    try:
        origin = open_for_keras(source).origin
        before_keras()
        from lrcompress.live import storing

        storing.convert(source, target, origin.kept or None, overwrite=overwrite)
    except TrainingError as error:
        if error.code not in ("keras_cannot_load", "holds_code"):
            raise
        msg = (
            f"{target} was not written: only Keras writes the other format, and it cannot load {source} "
            f"({_reason(error)}); name an output that ends in {source.suffix}, which needs no Keras."
        )
        raise TrainingError(msg, code=error.code) from error


def _check(copy: Path) -> None:
    """Load a modernized file in Keras, as its user will."""
    try:
        open_for_keras(copy)
        before_keras()
        from lrcompress.live import storing

        storing.load_model(copy)
    except TrainingError as error:
        msg = f"{copy} was modernized, but Keras still cannot load it ({_reason(error)}); nothing was written."
        raise TrainingError(msg, code=error.code) from error


def _reason(error: TrainingError) -> str:
    """Return what Keras said, or why it was not asked."""
    said = error.__cause__
    return str(error) if said is None else f"{type(said).__name__}: {one_line(said)}"
