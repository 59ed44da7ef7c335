"""What the site of docs/ does beyond MkDocs; that it builds without a warning is seen by CI."""

from __future__ import annotations

import runpy
from pathlib import Path

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
