"""Run records, provenance, and what errors and numbers look like."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lrcompress import errors
from lrcompress.errors import LRCompressError, RunRecordError
from lrcompress.events import listening
from lrcompress.records import provenance, runs


@pytest.fixture
def record(tmp_path: Path) -> runs.RunRecord:
    """Return a saved record of two small files."""
    for name in ("model.h5", "model-rank4.h5"):
        (tmp_path / name).write_text(name)
    with listening(command=["lrcompress", "factorize"]):
        made = runs.new_record(tmp_path / "model-rank4.h5", 0)
    made.set_stage("original", tmp_path / "model.h5", 100)
    made.set_stage("factorized", tmp_path / "model-rank4.h5", 90, error_rate=1.5)
    made.save()
    return made


def test_records_travel(record: runs.RunRecord, tmp_path: Path) -> None:
    """Paths in a record are relative to it, and still lead to the files after a move."""
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)

    found = runs.newest(moved)

    stage = found.stage("factorized")
    assert stage is not None
    assert stage["path"] == "model-rank4.h5"
    assert found.resolve(stage["path"]).read_text() == "model-rank4.h5"


def test_unknown_fields_survive(record: runs.RunRecord) -> None:
    """What this version does not know is kept, at every level that is rewritten."""
    document = json.loads(record.path.read_text())
    document["new"] = {"a": 1}
    document["stages"][0]["later"] = 2
    record.path.write_text(json.dumps(document))

    again = runs.read(record.path)
    again.set_stage("original", record.path.parent / "model.h5", 100, error_rate=0.5)
    again.save(overwrite=True)

    final = json.loads(record.path.read_text())
    assert final["new"] == {"a": 1}
    assert final["stages"][0]["later"] == 2
    assert final["stages"][0]["error_rate"] == 0.5


def test_figures_of_another_file_are_dropped(record: runs.RunRecord, tmp_path: Path) -> None:
    """Where the model's bytes have changed, its old error rate does not stay."""
    (tmp_path / "model-rank4.h5").write_text("other")

    record.set_stage("factorized", tmp_path / "model-rank4.h5", 80)

    stage = record.stage("factorized")
    assert stage is not None
    assert stage["error_rate"] is None
    assert [s["name"] for s in record.document["stages"]] == ["original", "factorized"]


def test_the_newest_record_is_taken(record: runs.RunRecord, tmp_path: Path) -> None:
    """The one written last counts, whatever its name."""
    older = tmp_path / f"zzz{runs.SUFFIX}"
    older.write_text(record.path.read_text())
    os.utime(older, (1, 1))

    assert runs.newest(tmp_path).path == record.path


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "null", "[]", "{}", '{"schema_version": 2, "stages": []}',
        '{"schema_version": 1, "stages": {}, "layers": [], "finetune": []}',
        '{"schema_version": 1, "stages": [1], "layers": [], "finetune": []}',
        '{"schema_version": 1, "stages": [{}], "layers": [], "finetune": []}',
        '{"schema_version": 1, "stages": [], "layers": [2], "finetune": []}',
        "[" * 100_000, "\x00\xff",
    ],
)  # fmt: skip
def test_what_is_no_record(tmp_path: Path, content: str) -> None:
    """Anything else is refused by name, in one line."""
    path = tmp_path / f"x{runs.SUFFIX}"
    path.write_text(content, encoding="latin-1")

    with pytest.raises(RunRecordError, match=r"x\.lrcompress\.json") as refused:
        runs.read(path)

    assert "\n" not in str(refused.value)


def test_the_field_that_is_wrong_is_named(record: runs.RunRecord) -> None:
    """Whoever changed a record by hand is told where."""
    document = json.loads(record.path.read_text())
    document["stages"][1]["parameters"] = "many"
    record.path.write_text(json.dumps(document))

    with pytest.raises(RunRecordError, match=r"got `str` - at `\$\.stages\[1\]\.parameters`"):
        runs.read(record.path)


def test_no_record_here(tmp_path: Path) -> None:
    """An empty folder says how to get one."""
    with pytest.raises(RunRecordError, match="lrcompress factorize") as refused:
        runs.newest(tmp_path)

    assert refused.value.code == "no_run"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (provenance.pack({"dataset": "mnist"}), {"dataset": "mnist"}),
        (b'{"dataset": "mnist"}', {"dataset": "mnist"}),
        ({"dataset": "mnist"}, {"dataset": "mnist"}),
        ("{", {}), ("[" * 100_000, {}), (b"\xff\xfe", {}), (3, {}), ("[1]", {}), (None, {}),
        ('{"dataset": "mnist", "x": NaN}', {}), ({"dataset": "mnist", "x": float("inf")}, {}),
        ('{"dataset": "mnist", "x": "\\ud800"}', {}), ({"x": json.loads("[" * 60 + "]" * 60)}, {}),
    ],
)  # fmt: skip
def test_provenance_of_strangers(value: object, found: dict[str, str]) -> None:
    """What is not a provenance is none, whatever a file holds in its place; the rest can be written again."""
    origin = provenance.unpack(value, Path("model.keras"))

    assert origin.kept == found
    assert origin.altered == (value is not None and not found)
    provenance.pack(origin.kept)


def test_every_error_has_a_code_and_an_exit_code() -> None:
    """Errors are children of one base, with a stable code; only usage errors exit with 2."""
    kinds: list[type[LRCompressError]] = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and value not in (LRCompressError, errors.LRCompressWarning)
    ]

    assert all(issubclass(kind, LRCompressError) for kind in kinds)
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert {kind.__name__ for kind in kinds if kind.exit_code == 2} == {"UnknownDatasetError"}


def test_control_characters_do_not_reach_the_terminal() -> None:
    """Names from a stranger's file are shown without escape sequences and without markup."""
    from rich.console import Console

    from lrcompress.errors import printable
    from lrcompress.reporting.tables import plain, table

    evil = "a\x1b[31mred\x07 [bold]b[/bold]\n"
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(table("t", ["x", "y"], [[evil, "1"]]), plain([evil]))

    assert "\x1b" not in capture.get()
    assert "\x07" not in capture.get()
    assert capture.get().count("[bold]b[/bold]") == 2
    assert printable("größe λ") == "größe λ"


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        ("count", 1192042, "1,192,042"), ("size", 4_800_000, "4.80 MB"), ("size", 12, "12 bytes"),
        ("share", 0.0013, "0.13 %"), ("share", 0.584, "58.4 %"), ("points", 0.151, "+0.15 pt"),
        ("seconds", 0.5, "0.50 s"), ("seconds", 1170.0, "1,170 s"), ("small", None, "-"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(function: str, value: float | None, text: str) -> None:
    """Every table writes a kind of number in one way."""
    from lrcompress.reporting import words

    render: Callable[[float | None], str] = getattr(words, function)

    assert render(value) == text


def test_the_scratch_table_joins_the_story(record: runs.RunRecord, tmp_path: Path) -> None:
    """A finished row of the same data set and rank becomes a stage; a broken table becomes none."""
    from lrcompress.reporting.story import tell

    record.document |= {
        "dataset": {"name": "digits"},
        "layers": [
            {
                "rank": 4,
                "name": "d",
                "parameters_before": 9,
                "parameters_after": 7,
                "rank_choice": {},
            }
        ],
        "optimizer_bytes": 0,
    }
    row = {"rank": 4, "model": "m.keras", "model_parameters": 70, "bytes": 5, "seconds": 1.0,
           "error_rate": 2.0, "error_rate_low": 1.0, "error_rate_high": 3.0, "samples": 9, "loss": 0.1}  # fmt: skip
    folder = tmp_path / "scratch-digits"
    folder.mkdir()

    before = [stage["name"] for stage in tell(record)["stages"]]
    (folder / "results.json").write_text("{")
    broken = [stage["name"] for stage in tell(record)["stages"]]
    (folder / "results.json").write_text(json.dumps({"rows": [row]}))
    story = tell(record)

    assert before == broken == ["original", "factorized"]
    assert [stage["name"] for stage in story["stages"]] == ["original", "factorized", "scratch"]
    assert story["stages"][2]["error_rate"] == 2.0
    assert story["stages"][1]["parameters_saved"] == 10
    assert story["stages"][1]["parameters_reduction"] == pytest.approx(0.1)


def test_an_error_made_of_one_of_ours_keeps_its_code() -> None:
    """Codes come from the names of our own classes only."""

    class NoSuchShelf(errors.DatasetError):
        """Somebody else's."""

    assert errors.ModelFileError.code == "model_file"
    assert NoSuchShelf.code == errors.DatasetError.code == "dataset"
