"""A report as one page: no network, no script but our own, names of strangers escaped."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from lrcompress.errors import printable
from lrcompress.reporting.charts import charts_of
from lrcompress.reporting.charts.plots import inline
from lrcompress.reporting.explorer import explorer_of
from lrcompress.reporting.page import page_of

TEMPLATES = Path(__file__).parent / "templates"


def render(story: dict[str, Any]) -> str:
    """Return the page of a story, the same one for the same story."""
    # Jinja is needed for pages alone.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        keep_trailing_newline=True,
    )
    drawn = [(chart, *inline(chart)) for chart in charts_of(story)]
    figures = [{**chart.__dict__, "svg": svg} for chart, svg, _ in drawn]
    page = page_of(story, has_figures=bool(figures)) | {"figures": figures}
    explorer = explorer_of(story)
    if explorer is not None:
        # The page's policy lets this text run and no other.
        script = (TEMPLATES / "explorer.js").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        marks = {chart.name: places for chart, _, places in drawn if places}
        explorer |= {"script": script, "digest": digest, "marks": marks}
    return environment.get_template("report.html").render(page=page, explorer=explorer)


def _finalize(value: object) -> object:
    """Keep control characters of names out of the page; what is markup already stays."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
