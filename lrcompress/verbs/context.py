"""What a verb works with, asked in one place: data set and scaling, run record, original.

What the user says comes first, then what the run record says, then what the model file says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import ModelFileError, RunRecordError
from lrcompress.events import before_keras
from lrcompress.modelfile import ModelFile, check_loadable
from lrcompress.records import runs
from lrcompress.records.provenance import Origin, choose, inside

if TYPE_CHECKING:
    from lrcompress.data.dataset import Dataset
    from lrcompress.live.calibration import LiveModel
    from lrcompress.live.prepare import Prepared


@dataclass(frozen=True)
class DataSource:
    """A data set by its name, or the data themselves, and how to use it."""

    dataset: Any
    # In which a name is sought first.
    folder: Path | None = None
    # None to detect it.
    scaling: str | None = None
    seed: int = 0
    # Data to choose on, new to the model; None for a part of the data set.
    validation: Any = None

    def load(self, *, whole: bool = False) -> Dataset:
        """Return the data; `whole` takes all of those without a test part for one."""
        # Data may start Keras: a user's function, or a download.
        import lrcompress.live  # noqa: F401  # sets what TensorFlow reads when it is imported
        from lrcompress.data.sources import load

        return load(
            self.dataset, self.folder, seed=self.seed, validation=self.validation, whole=whole
        )

    def prepare(self, loaded: Dataset, model: Any) -> Prepared:  # noqa: ANN401  # a Keras model
        """Return the data fitted to a model, with their scaling."""
        from lrcompress.live.prepare import prepare

        return prepare(loaded, model, scaling=self.scaling, seed=self.seed, data_dir=self.folder)


def find_data(
    dataset: Any,  # noqa: ANN401  # a name, data in any arrangement, or None
    data_dir: str | Path | None,
    scaling: str | None,
    *origins: Origin,
    seed: int = 0,
    validation: Any = None,  # noqa: ANN401
) -> DataSource:
    """Return the data set that the user names, else the first one that a file does, if it may."""
    chosen = choose(dataset, data_dir, *origins)
    folder = data_dir or chosen.data_dir
    return DataSource(
        chosen.dataset,
        None if folder is None else Path(folder),
        scaling or chosen.scaling,
        seed,
        validation,
    )


def open_live(opened: ModelFile, source: DataSource, samples: int | None = None) -> LiveModel:
    """Load a data set, and a model in Keras, and check them against each other."""
    check_loadable(opened)
    loaded = source.load()
    before_keras()
    from lrcompress.live import compiling, storing
    from lrcompress.live.calibration import LiveModel

    original = storing.load_model(opened.path)
    compiling.drop_slots(original)
    return LiveModel(original, source.prepare(loaded, original), opened, samples)


def find_record(model: str | Path | None, run: str | Path | None) -> runs.RunRecord:
    """Return the record named, the model's own, the newest here, or a new one for a lone model."""
    if run is not None:
        return runs.read(Path(run))
    if model is None:
        return runs.newest(Path())
    own = runs.record_path(Path(model))
    return runs.read(own) if own.exists() else runs.new_record(Path(model), 0)


def record_of(path: str | Path | None) -> runs.RunRecord:
    """Return the record that is named, or that of a model or an exported file; by default the newest here."""
    if path is None or Path(path).suffix == ".json" or not Path(path).exists():
        return find_record(None, path)
    found = record_beside(Path(path))
    if found is None:
        msg = (
            f"No run record (*{runs.SUFFIX}) beside {path} names it; expected a run record, or a model or an "
            "exported file of a run that lies beside its record."
        )
        raise RunRecordError(msg, code="no_run")
    return found


def record_beside(model: Path) -> runs.RunRecord | None:
    """Return the run record beside a file that names it as what was made or exported, if there is one."""
    if not model.exists():
        return None
    for path in sorted(model.parent.glob(f"*{runs.SUFFIX}")):
        try:
            record = runs.read(path)
        except RunRecordError:
            continue
        stages = [record.stage(name) or {} for name in ("factorized", "finetuned")]
        made = [
            record.resolve(entry["path"])
            for entry in [*stages, *(record.document.get("exports") or [])]
            if isinstance(entry.get("path"), str)
        ]
        if any(file.exists() and file.samefile(model) for file in made):
            return record
    return None


def factorized_file(record: runs.RunRecord) -> Path:
    """Return the factorized model that a record names."""
    stage = record.stage("factorized")
    if stage is None or not isinstance(stage.get("path"), str):
        msg = f"{record.path} names no factorized model; run `lrcompress factorize` again, or name the model."
        raise RunRecordError(msg)
    path = record.resolve(stage["path"])
    if not inside(record.path.parent, stage["path"]):
        # The output goes beside the model: where that is, no record decides.
        msg = f"{record.path} names {path}, outside its own folder; if you trust it, give that model yourself."
        raise RunRecordError(msg, code="not_from_a_file")
    if not path.is_file():
        msg = (
            f"{record.path} names {path}, which is not there; "
            "name the factorized model, or run `lrcompress factorize` again."
        )
        raise ModelFileError(msg, code="missing")
    return path


def original_of(record: runs.RunRecord | None) -> Path | None:
    """Return the original that a record names, where it is still that file."""
    stage = (record.stage("original") if record else None) or {}
    if record is None or not isinstance(stage.get("path"), str):
        return None
    path = record.resolve(stage["path"])
    return path if runs.intact(path, stage) else None
