"""The documentation says what the program does."""

from __future__ import annotations

import json
import math
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import lrcompress
from lrcompress.cli import known_commands
from lrcompress.reporting.network import UP_TO

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "examples" / "README.md"]


def test_command_page_is_what_help_prints() -> None:
    """docs/cli.md is current; write it anew with `python docs/make_cli.py`."""
    made = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))["render"]()

    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == made


def test_results_page_is_what_the_figures_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/results.md is current; write it anew with `python docs/make_results.py`."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    made = runpy.run_path(str(ROOT / "docs" / "make_results.py"))["render"]()

    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == made


def test_how_far_estimates_without_data_held_is_what_was_measured() -> None:
    """The largest of the measured ratios, rounded up, stands in reports and on the pages."""
    text = (ROOT / "benchmarks" / "results" / "whole-network.json").read_text(encoding="utf-8")
    rows = [row for name, row in json.loads(text).items() if name.endswith("without data")]
    worst = max(row["true_error"] / row["measured"] for row in rows)

    assert f"up to {math.ceil(10 * worst) / 10:g} times" == UP_TO
    for page in ("methods", "whole-networks"):
        assert UP_TO in (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def test_first_pages_are_what_the_figures_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """README, docs/index.md and docs/comparison.md are current: `docs/make_first_page.py`; the first two are short."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    made = runpy.run_path(str(ROOT / "docs" / "make_first_page.py"))

    for page in (*made["PAGES"], made["TOOLS"]):
        text = page.read_text(encoding="utf-8")
        assert text == made["render"](page)
        assert page == made["TOOLS"] or text.count("\n") < 120


@pytest.mark.parametrize("name", known_commands())
def test_every_command_has_help_with_an_example(run: Callable[..., Result], name: str) -> None:
    """Each command's help has a runnable example, and its first line is in the list of commands."""
    result = run(name, "-h")

    assert result.exit_code == 0
    assert f"lrcompress {name}" in result.stdout.split("Example:")[1]


def test_every_name_is_documented() -> None:
    """README has each command; docs/python.md each public name, of which docs/api.md takes in the docstring."""
    page, reference = (
        (ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("python", "api")
    )

    missing = [c for c in known_commands() if f"lrcompress {c}" not in PAGES[0].read_text("utf-8")]
    missing += [name for name in lrcompress.__all__ if name not in page]
    missing += [n for n in lrcompress.__all__ if f"\n::: lrcompress.{n}\n" not in reference]
    assert missing == []


def test_citation_is_of_this_version() -> None:
    """CITATION.cff names the version of the package."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")

    assert f"\nversion: {lrcompress.__version__}\n" in citation


@pytest.mark.parametrize("page", LINKED, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file of the project, and to a heading in it."""
    lost = []
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)", prose(page)):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            lost.append(target)

    assert lost == []


def prose(page: Path) -> str:
    """Return a page without its code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def anchors(page: Path) -> set[str]:
    """Return the names by which headings of a page are linked to."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.M):
        words = re.sub(r"[^\w\s-]", "", re.sub(r"\]\([^)]*\)", "", heading).lower())
        name = base = re.sub(r"\s", "-", words.strip())
        count = 0
        while name in found:
            count += 1
            name = f"{base}-{count}"
        found.add(name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_in_pages_exist(page: Path, run: Callable[..., Result]) -> None:
    """Every `lrcompress ...` line of a code block names a command and options that exist."""
    blocks = re.findall(r"```(?:console|bash|sh)\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    calls = [call for line in lines for call in re.findall(r"lrcompress ([a-z].*?)(?: &&|$)", line)]

    for call in calls:
        words = call.split()
        if "lrcompress" in words[0] or words[0] not in known_commands():
            continue
        help_text = run(words[0], "--help").stdout
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in help_text, call


def test_every_refusal_of_a_model_file_is_documented() -> None:
    """docs/model-files.md lists each code that reading and editing a model file can give."""
    page = (ROOT / "docs" / "model-files.md").read_text(encoding="utf-8")
    sources = (Path(lrcompress.__file__).parent / "modelfile").rglob("*.py")
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    codes = set(re.findall(r'code="([a-z_]+)"', text))

    assert len(codes) > 15
    assert {code for code in codes if f"`{code}`" not in page} == set()


def test_committed_results_name_their_command() -> None:
    """Every committed figure says how it was made."""
    paths = sorted((ROOT / "benchmarks" / "results").rglob("*.json"))

    assert paths
    for path in paths:
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document.get("command") or document.get("commands"), path


def test_every_committed_result_is_on_a_page() -> None:
    """Each file in benchmarks/results is linked to by the page of results, of compatibility, or of other tools."""
    pages = [
        (ROOT / "docs" / f"{name}.md").read_text("utf-8")
        for name in ("results", "compatibility", "comparison")
    ]
    paths = (ROOT / "benchmarks" / "results").glob("*.json")

    assert [
        p.name for p in paths if f"(../benchmarks/results/{p.name})" not in "".join(pages)
    ] == []


@pytest.mark.keras
def test_figures_are_of_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are current, and on a page; draw them anew with `python docs/make_figures.py`."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    drawings = runpy.run_path(str(ROOT / "docs" / "make_figures.py"))["drawings"]()
    pages = " ".join(" ".join(path.read_text(encoding="utf-8") for path in PAGES).split())

    old = [d.name for d in drawings if d.digest not in d.path.read_text(encoding="utf-8")]
    assert old == []
    assert [d.name for d in drawings if d.markdown not in pages] == []
    assert {path.stem for path in (ROOT / "docs" / "figures").iterdir()} == {
        d.name for d in drawings
    }
