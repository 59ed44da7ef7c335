"""The page in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

# A name that the page must not obey: it would show in the console.
PROBE = "<img src=x onerror=console.log('obeyed')>"
DESK, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 800}


@pytest.fixture
def page(
    run: Callable[..., Result], record: Path, attached: tuple[Path, Path], tmp_path: Path
) -> str:
    """Return the address of a page with everything in it, and a stranger's warning."""
    document = json.loads(record.read_text(encoding="utf-8"))
    document["warnings"] = [PROBE]
    record.write_text(json.dumps(document), encoding="utf-8")
    path = tmp_path / "report.html"
    assert run("report", record, "--sweep", attached[0], "-o", path).exit_code == 0
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_goes_wrong_and_nothing_goes_out(
    visit: Callable[..., Any], page: str, size: dict[str, int], scheme: str
) -> None:
    """The page says nothing on its console, asks nobody for anything, fits, and keeps nobody out."""
    visited = visit(page, viewport=size, color_scheme=scheme)

    assert visited.said == []
    assert visited.barriers() == []
    assert not visited.is_too_wide
    assert {url.partition(":")[0] for url in visited.asked} <= {"file", "data"}


def test_the_slider_moves_words_marks_and_command(visit: Callable[..., Any], page: str) -> None:
    """Arrow keys and another method change figures, marks, command and what is read aloud; on paper it is not there."""
    visited = visit(page, viewport=DESK)
    tab = visited.tab

    def said() -> str:
        return str(tab.inner_text("#explorer-said")).replace("\xa0", " ")

    def mark(chart: str) -> tuple[str, str]:
        place = tab.get_attribute(f"#{chart}-mark", "transform")
        return str(place), str(tab.get_attribute(f"#{chart}-mark circle", "cy"))

    assert said().startswith("Rank 2, the chosen one, svd: test error 10.00 %")
    before = {chart: mark(chart) for chart in ("error-by-rank", "error-by-reduction", "spectrum")}
    tab.focus("#explorer-rank")
    tab.keyboard.press("ArrowRight")
    assert said().startswith("Rank 3, svd: test error 6.67 %")
    assert tab.get_attribute("#explorer-rank", "aria-valuetext") == "3"
    assert tab.inner_text("#explorer-figures .big >> nth=0") == "6.67\xa0%"
    for chart, was in before.items():
        assert mark(chart)[0] != was[0], chart
        assert mark(chart)[1] != was[1], chart
        assert tab.is_visible(f"#{chart}-mark circle")
    tab.focus("#explorer-method")
    tab.keyboard.press("ArrowDown")
    assert said().startswith("Rank 3, refined: test error 6.67 %")
    wanted = "lrcompress factorize 'my model.keras' --dataset mnist --scaling /255 --rank 3 --method refined"
    assert tab.inner_text("#explorer-command") == wanted
    tab.focus("#explorer-copy")
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.getElementById('explorer-copied').textContent")
    tab.emulate_media(media="print")
    assert not tab.is_visible("#explorer-whole")
    assert not tab.is_visible("#spectrum-mark")
    assert visited.said == []


def test_the_mark_stands_on_the_line(visit: Callable[..., Any], page: str) -> None:
    """The ring lies on the marker that Matplotlib drew for the same rank and method."""
    tab = visit(page, viewport=DESK).tab
    far = tab.evaluate("""() => {
      const chart = document.getElementById("error-by-rank-mark").ownerSVGElement;
      const ring = chart.querySelector(".mark circle").getBoundingClientRect();
      const centre = (box) => [box.x + box.width / 2, box.y + box.height / 2];
      const [x, y] = centre(ring);
      const markers = [...chart.querySelectorAll("use")].map((use) => centre(use.getBoundingClientRect()));
      return Math.min(...markers.map(([a, b]) => Math.hypot(a - x, b - y)));
    }""")

    assert far < 1


def test_every_stop_of_the_keyboard_can_be_seen(visit: Callable[..., Any], page: str) -> None:
    """Tab reaches contents, tables, slider and copy button, each with an outline."""
    tab = visit(page, viewport=PHONE).tab
    seen = set()
    for _ in range(60):
        tab.keyboard.press("Tab")
        kind, outline = tab.evaluate(
            "(e => [e.id || e.tagName, getComputedStyle(e).outlineStyle])(document.activeElement)"
        )
        if kind == "BODY":
            break
        assert outline != "none", kind
        seen.add(kind)

    assert {"A", "DIV", "SUMMARY", "explorer-method", "explorer-rank", "explorer-copy"} <= seen
