"""The compatibility page says what the committed figures say."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
# Dies at "crash", hangs at "hang", as a runtime may on a stranger's file.
WORKER = """
import json, os, sys, time
print(json.dumps({"versions": {}}), flush=True)
for index, (original, *_) in enumerate(json.load(sys.stdin)):
    if original == "crash":
        os._exit(3)
    if original == "hang":
        time.sleep(600)
    print(json.dumps({"index": index, "original_loads": True}), flush=True)
    print(json.dumps({"index": index, "done": True}), flush=True)
"""


@pytest.fixture(scope="module")
def maker() -> dict[str, Any]:
    """Return the names of the script that makes the page."""
    return runpy.run_path(str(ROOT / "docs" / "make_compatibility.py"))


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    """Return the names of the script that makes the figures, run as from its own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return runpy.run_path(str(ROOT / "benchmarks" / "compatibility.py"))


def test_compatibility_page_is_what_the_figures_say(maker: dict[str, Any]) -> None:
    """docs/compatibility.md is current; write it anew with `python docs/make_compatibility.py`."""
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")

    assert page == maker["render"]()


def test_verdicts_and_totals_follow_from_the_rows(benchmark: dict[str, Any]) -> None:
    """The committed verdicts and totals are those of the committed rows."""
    path = ROOT / "benchmarks" / "results" / "compatibility.json"
    document = json.loads(path.read_text(encoding="utf-8"))

    assert [row["verdict"] for row in document["rows"]] == [
        benchmark["verdict"](row) for row in document["rows"]
    ]
    assert document["totals"] == benchmark["totals"](document["rows"])


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a.h5", "`a.h5`"), ("a|b", "`a\\|b`"), ("a`b", "`` a`b ``"), ("a\nb", "`a?b`")],
)
def test_file_names_cannot_leave_their_cell(maker: dict[str, Any], text: str, escaped: str) -> None:
    """A stranger's file name stays code in one cell."""
    assert maker["code"](text) == escaped


def test_a_crash_or_a_hang_costs_one_file(
    benchmark: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files after one that ends the worker are examined all the same."""
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    examine = benchmark["examine"]
    monkeypatch.setitem(examine.__globals__, "WORKER", worker)
    jobs = [[name, None, None] for name in ("fine", "crash", "hang", "fine")]

    _, found = examine(sys.executable, "keras", jobs, 10.0, tmp_path / "log")

    assert [row["original_loads"] for row in found] == [
        True,
        "the process died (3)",
        "no answer in 10 s",
        True,
    ]
