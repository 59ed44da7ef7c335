"""A run record that somebody changed by hand is read, or refused in one line: never a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from lrcompress.errors import RunRecordError
from lrcompress.records import runs

GONE = object()
STRANGE = (GONE, None, "x", -1, [], {"a": 1})
KINDS = ("json", "markdown", "csv")
SPEED = {"ratio": 1.5, "low": 1.2, "high": 1.9, "verdict": "faster"}


def benchmark() -> dict[str, Any]:
    """Return what `benchmark` adds to a record."""
    models = [
        {"model": name, "parameters": 1105, "head_parameters": 105, "multiplications": total,
         "head_multiplications": None, "not_counted": [], "sha256": "0" * 64}
        for name, total in (("my model.keras", 1000), ("small.keras", 950))
    ]  # fmt: skip
    rows = [
        {"what": "head", "batch_size": 1, "model": model, "median": 1e-3, "q1": 9e-4, "q3": 2e-3, "runs": 9,
         "samples_per_second": 1000.0, "speed": SPEED if model else None}
        for model in (0, 1)
    ]  # fmt: skip
    return {
        "models": models,
        "rows": rows,
        "device": "cpu",
        "cores": 2,
        "versions": {},
        "open_length": None,
    }


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to everything in a document, of lists the first two items."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:2])
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield (*place, key)
        yield from places(item, (*place, key))


def changed(document: dict[str, Any], place: tuple[Any, ...], value: object) -> dict[str, Any]:
    """Return the document with another value in one place, or without it."""
    document = copy.deepcopy(document)
    holder: Any = document
    for key in place[:-1]:
        holder = holder[key]
    if value is GONE:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return document


def test_a_changed_record_is_read_or_refused(
    run: Callable[..., Result], record: Path, tmp_path: Path
) -> None:
    """Anything anywhere, in every format that does not draw: `run` raises what is no exit."""
    document = json.loads(record.read_text(encoding="utf-8")) | {"benchmark": benchmark()}
    codes: list[int] = []
    for index, place in enumerate(places(document)):
        for value in STRANGE:
            record.write_text(json.dumps(changed(document, place, value)), encoding="utf-8")
            kind = KINDS[(index + len(codes)) % len(KINDS)]
            output = tmp_path / f"out.{kind}"
            shown = run("report", record)
            written = run("report", record, "--format", kind, "-o", output, "--overwrite")

            assert shown.exit_code == written.exit_code, (
                place,
                value,
                shown.output,
                written.output,
            )
            assert shown.exit_code in (0, 1)
            if shown.exit_code:
                assert len(shown.stderr.splitlines()) == 1
                assert "is not a run record" in shown.stderr
            codes.append(shown.exit_code)

    assert codes.count(0) > 300
    assert codes.count(1) > 300


@pytest.mark.parametrize("figure", ["loss", "validation_error_rate", "validation_loss"])
def test_a_history_without_numbers_is_refused(record: Path, figure: str) -> None:
    """What the figures of a page would draw."""
    document = json.loads(record.read_text(encoding="utf-8"))
    document["finetune"][0]["history"][0][figure] = "x"
    record.write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(RunRecordError, match="not a run record"):
        runs.read(record)


def test_a_drop_of_several_outputs_has_one_of_each(record: Path) -> None:
    """None in the place of a difference, which every table would look into."""
    document = json.loads(record.read_text(encoding="utf-8"))
    document["stages"][-1]["drop"] = {"outputs": {"a": None}}
    record.write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(RunRecordError, match="not a run record"):
        runs.read(record)


@pytest.mark.parametrize("what", ["head", "layers"])
def test_what_was_timed_is_in_a_table(run: Callable[..., Result], record: Path, what: str) -> None:
    """The head, or the layers that were factorized, each in its own words."""
    timed = benchmark()
    rows = [row | {"what": part} for part in ("model", what) for row in timed["rows"]]
    document = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(
        json.dumps(document | {"benchmark": timed | {"rows": rows}}), encoding="utf-8"
    )

    result = run("report", record, "--format", "html")

    assert result.exit_code == 0
    part = {"head": "Head alone", "layers": "Factorized layers alone"}[what]
    assert f'<th scope="row">{part}</th>' in result.stdout


def test_a_constant_that_json_does_not_know_is_refused(record: Path) -> None:
    """NaN, which Python's own reader would let in."""
    document = json.loads(record.read_text(encoding="utf-8")) | {"seed": float("nan")}
    record.write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(RunRecordError, match="not a run record"):
        runs.read(record)


def test_an_attached_document_is_read_as_strictly(
    run: Callable[..., Result], record: Path, attached: tuple[Path, Path], tmp_path: Path
) -> None:
    """A sweep with NaN is refused too: no report in JSON could hold it."""
    document = json.loads(attached[0].read_text(encoding="utf-8")) | {"extra": float("nan")}
    attached[0].write_text(json.dumps(document), encoding="utf-8")

    result = run("report", record, "--sweep", attached[0], "-o", tmp_path / "out.json")

    assert result.exit_code == 1
    assert "is not JSON" in result.stderr
