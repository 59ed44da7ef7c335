"""The whole job: its steps in order, each a verb, and how far it is."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import LRCompressError, RankError, TrainingError
from lrcompress.events import remark, stage
from lrcompress.files import check_output, names
from lrcompress.modelfile import ModelFile, check_loadable, open_model
from lrcompress.records import runs
from lrcompress.records.compressed import CompressResult
from lrcompress.records.results import FactorizeResult, FinetuneResult
from lrcompress.verbs.in_memory import loaded

if TYPE_CHECKING:
    from lrcompress.runtimes import Int8

# Where the default saves nothing: what is tried instead, until the file is smaller.
SHARES = (0.1, 0.2, 0.3)
# How often the layers are chosen anew, for a file of a size that Keras has written.
_FITTINGS = 3
# What training adds to a file: an optimizer that has counted its steps.
_STORED = 2_048
# Layers give way to what Keras adds to a file up to this share of it; beyond, training is not worth them.
_MOST_ROOM = 0.1


@dataclasses.dataclass
class Job:
    """One job, and how far it is."""

    opened: ModelFile
    output: Path
    overwrite: bool
    seed: int
    given: dict[str, Any]
    validation: Any
    epochs: int | None
    wanted: tuple[str | None, Int8] | None
    quietly: Callable[[], AbstractContextManager[None]]
    asked: dict[str, Any]
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    steps: list[str] = dataclasses.field(default_factory=list)
    why: str = ""
    goes_on: bool = False

    def done(self, budgets: dict[str, Any]) -> CompressResult:
        """Do what is missing of the job, and return what it came to."""
        exported, report = self._places()
        record = None if self.overwrite else self._unfinished()
        self.goes_on = record is not None
        self._check(exported, report)
        trains = self.given["dataset"] is not None and self.epochs != 0
        self.steps = ["layers", *["fine-tuning"] * trains, *["export"] * bool(exported), "report"]
        if record is None:
            with self._step("layers"):
                record = self._factorized(budgets)
                if trains and "target_size" in budgets:
                    record = self._with_room(record, budgets)
        else:
            remark(f"Going on with the unfinished job of {record.path}.")
        if trains and record.document["compress"]["finetune"] is None:
            with self._step("fine-tuning"):
                record = self._finetuned(record)
        failed: LRCompressError | None = None
        if exported is not None:
            try:
                with self._step("export"):
                    self._exported(exported)
            except LRCompressError as error:
                failed = error
        with self._step("report"):
            self._reported(record, report)
        if failed is not None:
            msg = f"{self.output} is compressed and written with its report, but not exported: {failed}"
            raise type(failed)(msg, code=failed.code) from failed
        with runs.updating(record) as (current, _):
            current.document["compress"]["done"] = True
        return self._result(current, exported, report)

    def _places(self) -> tuple[Path | None, Path]:
        """Return where the export and the report go; refuse a format that is not there."""
        exported = None
        if self.wanted is not None:
            from lrcompress.runtimes import check_calibration, choose

            form, int8 = self.wanted
            check_calibration(int8, has_data=self.given["dataset"] is not None)
            _, exported = choose(self.output, form, None, int8=int8)
        if exported is not None or self.given["dataset"] is not None:
            check_loadable(self.opened)
        return exported, names.beside(self.output, names.REPORT)

    def _unfinished(self) -> runs.RunRecord | None:
        """Return the record of the same job of the same model, where it was interrupted."""
        path = runs.record_path(self.output)
        if not path.exists():
            return None
        record = runs.read(path)
        job = record.document.get("compress") or {}
        if job.get("done") is not False or job.get("asked") != self.asked:
            return None
        original = record.stage("original") or {}
        is_same = runs.intact(self.opened.path, original) and record.stage_of(self.output)
        return record if is_same else None

    def _check(self, exported: Path | None, report: Path) -> None:
        """Refuse outputs that are there before any work is done."""
        replaces = self.overwrite or self.goes_on
        for place in filter(None, (self.output, report, exported)):
            if not (place.is_dir() and replaces):
                check_output(place, inputs=(self.opened.path,), overwrite=replaces)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Tell which step begins, and take its time."""
        stage(name, self.steps.index(name) + 1, len(self.steps))
        started = time.perf_counter()
        yield
        self.seconds[name.replace("-", "")] = time.perf_counter() - started

    def _factorized(self, budgets: dict[str, Any]) -> runs.RunRecord:
        """Make the layers smaller; a default that saves nothing gives way to more."""
        result, why = self._within(budgets), ""
        for share in () if budgets else SHARES:
            if result is not None and (result.network is None or not _is_larger(result)):
                break
            why = "makes no smaller file" if result is not None else self.why
            again = self._within({"reduction": share}, overwrite=result is not None)
            result = again or result
        if result is None:
            msg = f"{self.opened.path} has no layer that can be made smaller: {self.why}"
            raise RankError(msg, code="nothing_to_gain")
        warnings = []
        if why and result.network is not None and result.network.budget is not None:
            warnings.append(
                f"The default {why}: {100 * result.network.budget['value']:g} % of the parameters were to be saved "
                "instead, which may be too much."
            )
        if result.record is None or result.output is None:
            raise AssertionError  # of a file
        self.output = result.output
        with runs.updating(runs.read(result.record)) as (record, _):
            record.document["compress"] = {
                "asked": self.asked,
                "output": record.relative(self.output),
                "done": False,
                "finetune": None,
            }
            record.document["warnings"] = [*record.document["warnings"], *warnings]
        return record

    def _with_room(self, record: runs.RunRecord, budgets: dict[str, Any]) -> runs.RunRecord:
        """Make the model so much smaller that it has the size asked for as Keras saves it, once it is trained."""
        from lrcompress.files.sizes import bytes_of
        from lrcompress.live import storing

        asked = most = bytes_of(str(budgets["target_size"]))
        for _ in range(_FITTINGS):
            with tempfile.TemporaryDirectory() as folder:
                saved = Path(folder) / self.output.name
                compiled = open_model(self.output).compile_config
                trained = storing.load_model(self.output)
                storing.save_model(trained, saved, record.origin.kept, compiled=compiled)
                over = saved.stat().st_size + _STORED - asked
            # What cannot be reached is as small as it gets by now.
            if over <= 0 or self.output.stat().st_size > most:
                break
            if over > _MOST_ROOM * asked:
                why = f"as Keras writes it the trained file would be {over:,} bytes larger than asked for"
                record = _decide(record, {"kept": False, "why": why})
                break
            most -= over
            self.overwrite = True
            record = self._factorized({"target_size": most})
        if most < asked:
            with runs.updating(record) as (record, _):
                record.document["network"]["budget"]["value"] = asked
        return record

    def _within(self, budget: dict[str, Any], *, overwrite: bool = False) -> FactorizeResult | None:
        """Make the layers smaller within a budget; None where one that nobody asked for cannot be kept."""
        from lrcompress.verbs.factorize import factorize
        from lrcompress.verbs.networks.compress import GIVE_WAY

        try:
            return factorize(
                self.opened.path, layers="all", output=self.output, seed=self.seed,
                overwrite=self.overwrite or overwrite, validation=self.validation,
                **self.given, **budget,
            )  # fmt: skip
        except RankError as error:
            if self.asked["budget"] or error.code not in GIVE_WAY:
                raise
            self.why = self.why or GIVE_WAY[error.code]
            return None

    def _finetuned(self, record: runs.RunRecord) -> runs.RunRecord:
        """Train, and keep that where it is better on held-out data."""
        from lrcompress.verbs.finetune import finetune

        tuned = names.made_of(self.output, names.FINETUNED)
        # What is left of an unfinished run is of this very job only where that goes on.
        resume = self.goes_on and names.beside(tuned, names.CHECKPOINT).exists()
        try:
            found = finetune(
                self.output, run=record.path, epochs=self.epochs, output=tuned, resume=resume,
                overwrite=True, validation=self.validation, seed=self.seed, **self.given,
            )  # fmt: skip
        except LRCompressError as error:
            return _decide(record, {"kept": False, "why": f"Not fine-tuned: {error}"})
        samples = (record.origin.kept or {}).get("validation_samples")
        decision = _decision_on(found, samples)
        if found.interrupted or not decision["kept"]:
            _drop(record, tuned)
        if found.interrupted:
            msg = (
                f"Interrupted: {self.output} is compressed and whole, but not fine-tuned yet; the same command goes "
                "on there."
            )
            raise TrainingError(msg, code="interrupted")
        if not decision["kept"]:
            return _decide(record, decision)
        with runs.updating(record) as (current, _):
            tuned.replace(self.output)
            for entry in (current.stage("finetuned") or {}, current.document["finetune"][-1]):
                key = "path" if "path" in entry else "output"
                entry[key] = current.relative(self.output)
            current.document["compress"]["finetune"] = decision
        return current

    def _exported(self, place: Path) -> None:
        """Export the model with errors on the data of the run."""
        from lrcompress.verbs.export import export

        form, int8 = self.wanted or (None, False)
        export(
            self.output, format=form, int8=int8, output=place, overwrite=True,
            quietly=self.quietly, **self.given,
        )  # fmt: skip

    def _reported(self, record: runs.RunRecord, place: Path) -> None:
        from lrcompress.verbs.report import report

        report(record.path, output=place, overwrite=True)

    def _result(
        self, record: runs.RunRecord, exported: Path | None, report: Path
    ) -> CompressResult:
        """Return what the record tells of the job."""
        from lrcompress.reporting.headline import result_of
        from lrcompress.reporting.story import tell

        story = tell(record)
        after = result_of(story) or {}
        before = next(one for one in story["stages"] if one["name"] == "original")
        network = story["network"] or {}
        export = None
        if exported is not None:
            name = record.relative(exported)
            export = next((e for e in record.document["exports"] if e["path"] == name), None)
        sizes = [one["bytes"] - one["optimizer_bytes"] for one in (before, after)]
        figures = [one if one.get("measure") else None for one in (before, after)]
        return CompressResult(
            input=self.opened.path, output=self.output, record=record.path, report=report,
            exported=exported, stage=after["name"],
            parameters_before=before["parameters"], parameters_after=after["parameters"],
            bytes_before=sizes[0], bytes_after=sizes[1],
            budget=network.get("budget"), inputs=network.get("inputs", "none"),
            estimated=network.get("measured"),
            measured_before=figures[0], measured_after=figures[1], drop=after.get("drop"),
            finetune=record.document["compress"]["finetune"], export=export,
            warnings=list(story["warnings"]), seconds=self.seconds, model=loaded(self.output),
        )  # fmt: skip


def _is_larger(result: FactorizeResult) -> bool:
    """Return whether a file is no smaller than the original, of which only its weights tell what that cost."""
    after = result.bytes_after - result.optimizer_bytes_after
    only_weights = result.network is not None and result.network.inputs == "none"
    return only_weights and after >= result.bytes_before - result.optimizer_bytes


def _decision_on(found: FinetuneResult, samples: int | None) -> dict[str, Any]:
    """Return whether fine-tuning helped on held-out data, and the figures that say so."""
    key = f"validation_{found.measure}" if found.measure != "outputs" else "validation_loss"
    start, *others = found.history
    best = next((entry for entry in others if entry["kept"]), None)
    on = "held-out inputs" if samples is None else f"{samples:,} held-out inputs"
    if best is None:
        why = f"no epoch was better than the start on {on}"
    else:
        what = "the re-fitted head" if best["epoch"] == 0 else f"epoch {best['epoch']}"
        why = f"{what} was best on {on}"
    return {
        "kept": best is not None,
        "why": why,
        "samples": samples,
        "measure": found.measure,
        "before": start.get(key),
        "after": None if best is None else best.get(key),
    }


def _decide(record: runs.RunRecord, decision: dict[str, Any]) -> runs.RunRecord:
    """Put into the record whether fine-tuning was kept."""
    with runs.updating(record) as (current, _):
        current.document["compress"]["finetune"] = decision
    return current


def _drop(record: runs.RunRecord, tuned: Path) -> None:
    """Take away what was fine-tuned for nothing: the model, and its stage; the record keeps the history."""
    with runs.updating(record) as (current, _):
        tuned.unlink(missing_ok=True)
        document = current.document
        document["stages"] = [s for s in document["stages"] if s["name"] != "finetuned"]
        for entry in document["finetune"]:
            entry.pop("output", None)
