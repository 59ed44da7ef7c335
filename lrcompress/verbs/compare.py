"""`compare`: compressing a trained network against training a small one, rank by rank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrcompress.events import before_keras
from lrcompress.modelfile import open_for_keras
from lrcompress.records.provenance import check_named
from lrcompress.studies.request import CompareRequest, check_published, file_stem
from lrcompress.verbs.context import find_data
from lrcompress.verbs.in_memory import check_file
from lrcompress.verbs.train_from_scratch import narrow


def compare(
    model: str | Path | None = None,
    *,
    dataset: str | None = None,
    ranks: Sequence[int] | None = None,
    arms: Sequence[str] | None = None,
    seeds: int = 1,
    seed: int = 0,
    epochs: int | None = None,
    budget: int | None = None,
    finetune_epochs: int = 2,
    batch_size: int | None = None,
    data_dir: str | Path | None = None,
    scaling: str | None = None,
    rows_from: Sequence[str | Path] = (),
    keep_models: bool = False,
    distribute: str = "auto",
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Measure ways to a small network against each other, on the same test samples.

    At each rank and seed: the full-rank network; its head by truncated SVD and by the best method
    on unlabelled inputs; factorized and fine-tuned; trained from scratch at that rank; and the
    full-rank network given the same extra epochs. Every row is saved as it ends; a call that was
    interrupted is repeated and goes on, and several processes may fill one folder.

    Args:
        model: A trained full-rank model file, or ``package.module:function`` returning a network
            to be trained here; default the data set's published network.
        dataset: Default the one that the model file names.
        ranks: Default the published ones.
        arms: Some of full, full-finetuned, svd, refined, finetuned, scratch; default all, without
            scratch for a model file.
        seeds: How many.
        seed: The first; the others follow it.
        epochs: Of full-rank and from-scratch training; default as published, 10 for a network of
            your own.
        budget: Epochs in all for every arm that trains: the full-rank network gets so many less
            `finetune_epochs`, and from-scratch training all of them.
        finetune_epochs: The extra epochs.
        batch_size: Of full-rank and from-scratch training; default as published, 32.
        data_dir: First folder in which a named data set is sought.
        scaling: For a network of your own; default as its file records or shows.
        rows_from: Folders of `train_from_scratch` or `compare` whose rows and models are taken
            over where their settings are the same.
        keep_models: Keep the fine-tuned models too.
        distribute: ``auto`` shares each batch out where there are several accelerators or hosts,
            ``data`` also among CPU devices, ``none`` never; see docs/devices.md.
        output: Folder for ``compare.json`` and models; default ``compare-<dataset>``.

    Returns:
        The results document, see docs/comparing.md.

    Raises:
        RankError: If a rank does not fit the final layer, or none is given where none is published.
        DatasetError: If the data set is missing or does not fit the network.
        OutputError: If the folder holds results of other settings.
        TrainingError: If an arm cannot be had, or Keras cannot build or load the model.
    """
    check_named(dataset, "compare")
    if model is not None:
        check_file(model, "compare")
    name = None if model is None else str(model)
    request = CompareRequest(
        name, arms, epochs, budget, finetune_epochs, batch_size, keep_models=keep_models
    )
    origins = [open_for_keras(request.file).origin] if request.file else []
    source = find_data(dataset, data_dir, scaling, *origins)
    check_published(source.dataset, model)
    loaded = source.load()
    loaded.check_labelled("training from scratch needs them")
    before_keras()
    from lrcompress.live.devices import over
    from lrcompress.studies.arms import compare_networks
    from lrcompress.studies.full_rank import Data

    folder = Path(output) if output is not None else default_folder(source.dataset)
    with over(distribute) as replicas, replicas.folder(folder) as own:
        data = Data(source.dataset, loaded, source.folder, source.scaling)
        return compare_networks(
            request, data, own, narrow,
            ranks=ranks, seeds=range(seed, seed + seeds), rows_from=rows_from,
        )  # fmt: skip


def default_folder(dataset: str) -> Path:
    """Return where a comparison goes: ``compare-<dataset>`` in the current directory."""
    return Path(f"compare-{file_stem(dataset)}")
