"""What the site of docs/ does beyond MkDocs, and how it is met in a browser."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mkdocs")
HOOKS = Path(__file__).parent.parent / "docs" / "site_hooks.py"


def test_navigation_has_the_pages_that_are_there(tmp_path: Path) -> None:
    """Planned pages are left out, with parts that would be empty; pages without a place come last."""
    from mkdocs.config.defaults import MkDocsConfig

    for name in ("index.md", "ranks.md", "new.md"):
        (tmp_path / name).touch()
    config = MkDocsConfig()
    config.docs_dir = str(tmp_path)
    config.nav = [
        {"Start": "index.md"},
        {"How to": [{"Choose": "ranks.md"}, {"Later": "planned.md"}]},
        {"Reference": [{"Later": ["planned.md"]}]},
    ]

    done = runpy.run_path(str(HOOKS))["on_config"](config)

    assert done.nav == [
        {"Start": "index.md"},
        {"How to": [{"Choose": "ranks.md"}]},
        {"More": ["new.md"]},
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the site, warnings being errors, and serve it to this machine alone."""
    for name in ("material", "mkdocstrings"):
        pytest.importorskip(name, reason=f"{name}, of the extra `docs`, is not installed")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
        cwd=HOOKS.parent.parent, check=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    (folder / "favicon.ico").touch()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


PAGES = sorted(path.stem for path in HOOKS.parent.glob("*.md"))


@pytest.mark.parametrize("page", [*PAGES, "examples"])
def test_a_page_of_the_site_keeps_nobody_out(
    chromium: Any, visit: Callable[..., Any], site: str, page: str
) -> None:
    """It says nothing on the console, asks no other host for anything, fits a phone, and axe-core finds nothing."""
    visited = visit(f"{site}/{page}.html", viewport={"width": 390, "height": 800})
    visited.tab.wait_for_function("document.querySelector('.md-search').ariaLabel")

    assert visited.said == []
    assert visited.barriers() == []
    assert not visited.is_too_wide
    assert [url for url in visited.asked if not url.startswith((site, "data:"))] == []


def test_the_switch_turns_figures_dark(chromium: Any, visit: Callable[..., Any], site: str) -> None:
    """The theme's switch, by keyboard, makes the page dark, and its figures, whatever the system prefers."""
    visited = visit(
        f"{site}/methods.html", viewport={"width": 1400, "height": 900}, color_scheme="light"
    )
    tab, figure = visited.tab, "img[src$='two-layers.svg']"
    before = tab.locator(figure).screenshot()

    tab.locator("label[for=__palette_1]").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.body.dataset.mdColorScheme == 'slate'")

    assert (
        tab.evaluate(f'getComputedStyle(document.querySelector("{figure}")).colorScheme') == "dark"
    )
    tab.wait_for_timeout(300)
    assert tab.locator(figure).screenshot() != before
    assert visited.barriers() == []


def test_search_answers_the_keyboard(chromium: Any, visit: Callable[..., Any], site: str) -> None:
    """A slash opens the search, words find pages, and Enter goes there."""
    tab = visit(f"{site}/index.html", viewport={"width": 1400, "height": 900}).tab
    tab.keyboard.press("/")
    tab.keyboard.type("break-even rank")
    tab.wait_for_selector(".md-search-result__link", state="visible")
    tab.keyboard.press("Enter")
    tab.wait_for_url(lambda url: "index.html" not in url)
