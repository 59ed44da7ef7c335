"""Training the paper's full-rank and low-rank networks from random weights."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lrcompress import __version__
from lrcompress.atomic import write_json
from lrcompress.errors import OutputError, RankError, TrainingError
from lrcompress.progress import Progress, silent
from lrcompress.training import backend
from lrcompress.training.datasets import Dataset
from lrcompress.training.evaluate import evaluate
from lrcompress.training.fit_data import fit_to_model
from lrcompress.training.networks import RECIPES
from lrcompress.training.saving import save_model
from lrcompress.training.scaling import parse
from lrcompress.training.steps import StepReporter

RESULTS = "results.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ScratchSettings:
    """What decides the numbers of a table: two tables with equal settings may be merged."""

    dataset: str
    epochs: int
    batch_size: int
    seed: int


def default_settings(dataset: str, epochs: int | None, seed: int) -> ScratchSettings:
    """Return the published settings of a data set.

    Raises:
        TrainingError: If there is no network for it.
    """
    if dataset not in RECIPES:
        msg = f"No network is published for data set {dataset!r}; expected {', '.join(RECIPES)}."
        raise TrainingError(msg, code="no_recipe")
    recipe = RECIPES[dataset]
    return ScratchSettings(dataset, epochs or recipe.epochs, recipe.batch_size, seed)


def train_rows(
    data: Dataset,
    settings: ScratchSettings,
    folder: Path,
    *,
    ranks: tuple[int | None, ...] | None = None,
    suffix: str = ".keras",
    command: list[str] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train one network a rank; save each, and the table after each.

    Rows that the folder's results already hold are not trained again, so an interrupted call is
    simply repeated.

    Args:
        data: The unscaled data set.
        settings: Epochs, batch size and seed.
        folder: Created if missing; gets ``<dataset>-full.keras``, ``<dataset>-rank4.keras``, ...
            and ``results.json``.
        ranks: Ranks in order, None meaning full; default the published ones.
        suffix: ``.keras`` or ``.h5``.
        command: Stored in the results.
        progress: Told of every step.

    Returns:
        The results document.

    Raises:
        RankError: If a rank does not lie between 1 and the number of classes.
        OutputError: If the folder holds results of other settings.
    """
    recipe = RECIPES[settings.dataset]
    ranks = ranks or recipe.ranks
    most = min(recipe.features, recipe.classes)
    for rank in ranks:
        if rank is not None and not 1 <= rank <= most:
            shape = f"{recipe.features} x {recipe.classes}"
            msg = (
                f"Rank {rank} does not fit a final layer of {shape}; expected 1 to {most}, or full."
            )
            raise RankError(msg)
    results = _open_results(folder, settings, command)
    done = {row["rank"] for row in results["rows"]}
    for rank in ranks:
        if rank not in done:
            row = _train_row(data, settings, folder, rank, suffix, progress)
            results["rows"] = _in_order([*results["rows"], row])
            write_json(folder / RESULTS, results)
    return results


def _train_row(
    data: Dataset,
    settings: ScratchSettings,
    folder: Path,
    rank: int | None,
    suffix: str,
    progress: Progress,
) -> dict[str, Any]:
    recipe = RECIPES[settings.dataset]
    keras.backend.clear_session()
    backend.seed_everything(settings.seed)
    model = recipe.build(rank)
    fitted = fit_to_model(data, model)
    scaling = parse(recipe.scaling, fitted.x_train)
    label = "full" if rank is None else f"rank {rank}"
    started = time.perf_counter()
    model.fit(
        scaling(fitted.x_train),
        keras.utils.to_categorical(fitted.y_train, recipe.classes),
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        verbose=0,
        callbacks=[StepReporter(progress, label, settings.epochs)],
    )
    seconds = time.perf_counter() - started
    result = evaluate(model, scaling(fitted.x_test), fitted.y_test, progress, f"{label}, test")
    name = f"{settings.dataset}-{label.replace(' ', '')}{suffix}"
    origin = {"dataset": settings.dataset, "scaling": recipe.scaling, "trained_by": __version__}
    save_model(model, folder / name, origin)
    published = recipe.published.get(rank)
    return {
        "rank": rank,
        **result.to_json(),
        "paper_parameters": recipe.paper_parameters(rank),
        "layer_parameters": recipe.layer_parameters(rank),
        "model_parameters": int(model.count_params()),
        "seconds": seconds,
        "images_per_second": settings.epochs * len(fitted.x_train) / seconds,
        "model": name,
        "bytes": (folder / name).stat().st_size,
        "published": published
        and dict(zip(("error_rate", "parameters", "seconds"), published, strict=True)),
    }


def _in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -(row["rank"] or np.inf))


def _open_results(
    folder: Path, settings: ScratchSettings, command: list[str] | None
) -> dict[str, Any]:
    """Return the folder's results document, or a new one."""
    path = folder / RESULTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"Cannot create folder {folder} ({error.strerror}); give another --output."
        raise OutputError(msg, code="output_folder") from error
    if not path.exists():
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "scratch",
            "settings": settings.__dict__.copy(),
            "command": command or [],
            "device": backend.describe_device(),
            "versions": backend.versions() | {"lrcompress": __version__},
            "rows": [],
        }
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        before, rows = results["settings"], results["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a results file of train-from-scratch; move it away or give another --output."
        raise OutputError(msg, code="results_unreadable") from error
    # A row whose model was deleted is trained again.
    results["rows"] = [row for row in rows if (folder / str(row.get("model"))).is_file()]
    if before != settings.__dict__:
        msg = (
            f"{path} was made with {before}, this run asks for {settings.__dict__}; "
            "give another --output, or move the folder away."
        )
        raise OutputError(msg, code="results_differ")
    return results
