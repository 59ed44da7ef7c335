"""Results and checkpoints that somebody changed by hand are read, or refused in one line."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.cli.commands import compare, train_from_scratch
from lrcompress.errors import LRCompressError
from lrcompress.records import ARMS, parse
from lrcompress.reporting.words import arm_names
from lrcompress.studies import arms, scratch
from lrcompress.studies.rows import find_past_runs, take_row
from lrcompress.studies.summary import pack
from lrcompress.train.checkpoint import Checkpoint, State, all_as_saved

GONE = object()
# As text: NaN, infinity, too long and too deep are no values that Python would write.
STRANGE = (
    GONE, "null", "true", "0", "-1", "1.5", '"x"', '""', "[]", "[1]", "{}", '{"a": 1}', "NaN", "-Infinity",
    "1e999", "1" + "0" * 29, "1" + "0" * 400, "1" + "0" * 5000, "[" * 100 + "]" * 100, "[" * 100_000, '"\\ud800"',
    '"\\u001b[31m"', '"' + "a" * 5000 + '"',
)  # fmt: skip
MARK = "@here@"
SETTINGS = {"dataset": "d.npz", "epochs": 3, "batch_size": 32}


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to everything in a document."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield (*place, key)
        yield from places(item, (*place, key))


def texts(document: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """Yield the document with every strange value in every place, as text; and what is no document."""
    for place in places(document):
        for value in STRANGE:
            changed = copy.deepcopy(document)
            holder: Any = changed
            for key in place[:-1]:
                holder = holder[key]
            if value is GONE:
                del holder[place[-1]]
            else:
                holder[place[-1]] = MARK
            yield (
                (place, str(value)[:20]),
                json.dumps(changed).replace(json.dumps(MARK), str(value)),
            )
    whole = json.dumps(document)
    for text in (
        "",
        "[]",
        "1",
        "null",
        '"x"',
        whole[: len(whole) // 2],
        "[" * 100_000,
        whole + "x",
        "\0",
    ):
        yield text[:20], text


def row(**more: Any) -> dict[str, Any]:
    """Return a row of ten test samples."""
    return {
        "rank": 2, "seed": 0, "error_rate": 20.0, "error_rate_low": 5.0, "error_rate_high": 50.0, "samples": 10,
        "wrong": pack(np.arange(10) < 2), "loss": 0.1, "seconds": 1.0, "images": 30, "layer_parameters": 9,
        "model_parameters": 99, "paper_parameters": None, "bytes": 999, "model": None, "device": "cpu",
        "published": {"error_rate": 1.0, "parameters": 5, "seconds": 2.0}, **more,
    }  # fmt: skip


def is_refused_or(read: Callable[[], Any]) -> bool:
    """Read, and return whether that was refused in one line; anything else escapes."""
    try:
        read()
    except LRCompressError as error:
        assert len(str(error).splitlines()) == 1
        return True
    return False


@pytest.mark.parametrize("kind", ["scratch", "compare"])
def test_results_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    """By the command that goes on with them, in its text, and by one that takes their rows over."""
    compares = kind == "compare"
    settings = dict(SETTINGS) | (
        {"finetune_epochs": 2, "full_epochs": 3, "scratch_epochs": 3} if compares else {}
    )
    settings |= {"network": "n"}
    rows = [row(rank=None), row(seed=1)]
    if compares:
        rows = [row(rank=None, arm="full"), row(arm="finetuned"), row(arm="scratch")]
    document = {
        "schema_version": 2 - compares,
        "kind": kind,
        "settings": settings,
        "rows": rows,
        "device": "cpu",
    }
    name = "compare.json" if compares else "results.json"
    if compares:
        file, show = arms.results_file(tmp_path, settings), compare.render
    else:
        file = scratch.results_file(tmp_path, SETTINGS | {"network": "n"})
        show = train_from_scratch.render
    codes = []
    for what, text in [("whole", json.dumps(document)), *texts(document)]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        try:
            codes.append(is_refused_or(lambda: show(file.read())))
            counts: dict[str, int | None] = {"full": 3, "scratch": 3}
            with contextlib.suppress(LRCompressError):
                for found in find_past_runs([tmp_path], settings, counts):
                    for arm in ARMS:
                        take_row([found], counts, arm, 2, 0)
        except Exception as error:
            error.add_note(f"{what}") if hasattr(error, "add_note") else None
            raise

    assert not codes[0]
    assert codes.count(False) > 100
    assert codes.count(True) > 200
    assert set(arm_names(1)) == set(ARMS)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes) -> None:
    """As results, and as a checkpoint; a folder by the name is one too."""
    (tmp_path / "results.json").write_bytes(content)
    (tmp_path / "c.npz").write_bytes(content)
    file = scratch.results_file(tmp_path, SETTINGS)

    assert is_refused_or(file.read)
    assert is_refused_or(Checkpoint(tmp_path / "c.npz", {}).load)
    (tmp_path / "folder.npz").mkdir()
    assert is_refused_or(Checkpoint(tmp_path / "folder.npz", {}).load)


def test_checkpoints_are_read_or_refused(tmp_path: Path) -> None:
    """Their header changed by hand, or their arrays."""
    look = {"epoch": 0, "what": "start", "validation_loss": 0.1, "kept": True}
    arrays = [np.ones((2, 3), np.float32)]
    state = State(
        1,
        [look, look | {"epoch": 1, "loss": None}],
        0,
        (1.0, 2.0),
        1.0,
        1.0,
        arrays,
        arrays,
        arrays,
    )
    checkpoint = Checkpoint(tmp_path / "c.npz", {"model": "m", "epochs": 3})
    checkpoint.save(state)
    assert not is_refused_or(checkpoint.load)
    with np.load(checkpoint.path) as archive:
        parts = dict(archive)
    header = json.loads(str(parts["header"]))
    codes = []
    for _, text in texts(header):
        np.savez(checkpoint.path, **parts | {"header": np.array(text)})
        codes.append(is_refused_or(checkpoint.load))
    assert codes.count(True) > 300
    assert codes.count(False) > 50
    np.save(tmp_path / "one.npy", arrays[0])
    (tmp_path / "one.npy").rename(checkpoint.path)
    assert is_refused_or(checkpoint.load)
    for wrong in (
        [],
        arrays * 2,
        [np.ones((3, 2), np.float32)],
        [np.array([["x"] * 3] * 2)],
        [np.ones((2, 3))],
    ):
        assert is_refused_or(lambda wrong=wrong: all_as_saved(wrong, arrays))  # type: ignore[misc]


def test_numbers_and_depth_have_an_end() -> None:
    """What json.loads takes, and nothing could write or show again."""
    assert parse('{"a": [1, 2.5, "\\u00e4"]}') == {"a": [1, 2.5, "ä"]}
    for text in ("1" * 31, "1e999", '"\\udfff"', "[" * 51 + "]" * 51, "[" * 100_000, "NaN"):
        with pytest.raises(ValueError):  # whatever is said
            parse(text)
