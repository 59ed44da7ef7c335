"""`compress`: the whole job. Layers get smaller, what that cost is recovered, and it is exported and reported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.compression import default_output
from lrcompress.errors import DatasetError
from lrcompress.files import names
from lrcompress.modelfile import open_model
from lrcompress.records.compressed import CompressResult
from lrcompress.records.provenance import name_of
from lrcompress.verbs.factorize import given
from lrcompress.verbs.in_memory import takes_live_models
from lrcompress.verbs.job import Job

if TYPE_CHECKING:
    from lrcompress.runtimes import Int8


@takes_live_models("compressed.keras")
def compress(
    model: Any,  # noqa: ANN401  # a path, or a Keras model
    *,
    architecture: str | Path | None = None,
    dataset: Any = None,  # noqa: ANN401  # a name, or data in any arrangement
    data_dir: str | Path | None = None,
    validation: Any = None,  # noqa: ANN401
    scaling: str | None = None,
    max_drop: float | str | None = None,
    reduction: float | None = None,
    multiplications: float | None = None,
    target_size: int | str | None = None,
    epochs: int | None = None,
    export: str | None = None,
    int8: Int8 = False,
    output: str | Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
    progress: bool = False,
    quietly: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> CompressResult:
    """Make a model smaller in one step: all layers, fine-tuning where it helps, export, report.

    Every step is a verb of its own: `factorize` with ``layers="all"``, `finetune`, `export`, `report`. What is
    chosen is chosen on held-out training data; test data are only measured. The output is written as
    soon as the layers are chosen, and replaced where fine-tuning is better on held-out data. The same call
    goes on with a job that was interrupted.

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file, or a Keras model in memory.
        architecture: Where the file holds weights alone: a file of what `model.to_json()` returned. Both are
            written as ``<stem>-whole.h5`` or ``.keras`` in the current directory, which then is the model.
        dataset: As for `lrcompress.factorize`; without labels the original alone teaches. Without data, a
            network with BatchNormalization is measured on synthetic inputs; of others nothing is measured.
        data_dir: First folder in which a named data set is sought.
        validation: A `.npz` file to choose on, see `lrcompress.factorize`.
        scaling: Default the recorded one, or detected.
        max_drop: Lose at most so many points on held-out data before fine-tuning, or of a language model so much
            of its perplexity (``"1%"``). At most one of these four; the default with data that tell errors is
            0.5, or 1 % of perplexity, else each layer keeps 95 % of its energy.
        reduction: Save at least this share of the model's parameters.
        multiplications: Save at least this share of the multiplications.
        target_size: Size of the Keras file, in bytes or as ``"200kB"``.
        epochs: Of fine-tuning; default 2, up to 10 without labels; 0 for none.
        export: ``litert``, ``onnx`` or ``saved-model``, to export it as well.
        int8: Export in 8-bit integers: True for the weights, ``"full"`` for all; see `lrcompress.export`.
        output: Default ``<stem>-compressed<suffix>`` in the current directory. Beside it appear its record, its
            report ``<stem>.report.html``, and what is exported.
        overwrite: Replace existing outputs, and begin anew.
        seed: Of every split, the order of samples and refinement.
        progress: Show on stderr how far it is.
        quietly: Returns a context in which exporters and runtimes may write to stderr.

    Raises:
        RankError: If nothing can be saved, or the budget cannot be met or measured.
        ModelFileError: If the file cannot be read.
        DatasetError: If the data set is missing or does not fit the model.
        OutputError: If an output exists or cannot be written.
        TrainingError: If Keras cannot load the model, or it was interrupted.
        MissingExtraError: If a package of the export format is missing.
        VerificationError: If a written file differs from what was meant.
    """
    path = Path(model)
    opened = open_model(path)
    target = Path(output) if output is not None else default_output(opened, path, names.COMPRESSED)
    budgets = given(
        max_drop=max_drop, reduction=reduction,
        multiplications=multiplications, target_size=target_size,
    )  # fmt: skip
    data = {"dataset": dataset, "data_dir": data_dir, "scaling": scaling}
    if dataset is None and any(v is not None for v in (data_dir, scaling, validation, epochs)):
        msg = "data_dir, validation, scaling and epochs say how to use a data set, but none was given; add --dataset."
        raise DatasetError(msg, code="no_dataset")
    job = Job(
        opened, target, overwrite, seed, data, validation, epochs,
        None if not (export or int8) else (export, int8), quietly,
        asked={
            "budget": budgets or None,
            "dataset": None if dataset is None else name_of(dataset),
            "export": export, "int8": int8, "epochs": epochs, "seed": seed,
        },
    )  # fmt: skip
    return job.done(budgets)
