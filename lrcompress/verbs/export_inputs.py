"""What `export` goes by: the original of the model, and inputs to compare outputs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress.errors import DatasetError, LRCompressError
from lrcompress.modelfile import ModelFile
from lrcompress.records import runs
from lrcompress.verbs.context import find_data

# Of random inputs, and of test data whose outputs are compared one by one.
RANDOM_SAMPLES, COMPARED_SAMPLES = 100, 1_000


@dataclass(frozen=True)
class Wanted:
    """How to find a data set; the fields are those of the command line."""

    dataset: Any
    data_dir: str | Path | None
    scaling: str | None


@dataclass(frozen=True)
class Inputs:
    """Inputs that both models run on.

    Attributes:
        x: Scaled, (samples, ...), or a dictionary of them by input name.
        y: Their labels; None for random inputs.
        weights: Of the samples; None if all weigh alike.
        about: Where they are from, for people and programs.
    """

    x: Any
    y: Any
    weights: Any
    about: dict[str, Any]


def find_inputs(
    model: Any,  # noqa: ANN401  # a Keras model
    opened: ModelFile,
    record: runs.RunRecord | None,
    wanted: Wanted,
) -> Inputs:
    """Return the test data that were asked for, else those that file or record names, else random.

    Nothing is downloaded that was not asked for.

    Raises:
        DatasetError: If the data set asked for is missing or does not fit the model.
        TrainingError: If no inputs can be drawn at random.
    """
    from lrcompress.data.named import NAMED, locate
    from lrcompress.live.outputs import random_inputs

    origins = [opened.origin, *([record.origin] if record else [])]
    reason = "no data set is named"
    try:
        if wanted.dataset is not None or any(origin.named for origin in origins):
            source = find_data(wanted.dataset, wanted.data_dir, wanted.scaling, *origins)
            name = source.dataset
            if wanted.dataset is None and name in NAMED and locate(name, source.folder) is None:
                msg = f"data set {name} is not at hand"
                raise DatasetError(msg)
            loaded = source.load(whole=True)
            data = source.prepare(loaded, model)
            (x, y), weights = data.test(), data.split.w_test
            about = {"dataset": loaded.name, "scaling": data.scaling.name, "why_random": None}
            return Inputs(x, y if data.labelled else None, weights, about)
    except LRCompressError as error:
        if wanted.dataset is not None:
            raise
        reason = str(error)
    about = {"dataset": None, "scaling": None, "why_random": reason}
    return Inputs(random_inputs(model, RANDOM_SAMPLES), None, None, about)
