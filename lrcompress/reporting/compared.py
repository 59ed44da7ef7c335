"""Text of `train-from-scratch` and `compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.reporting.tables import plain, table
from lrcompress.reporting.words import count, rate

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_scratch(results: dict[str, Any]) -> list[RenderableType]:
    """Show a table of `train-from-scratch`, beside the published one where there is one."""
    settings, summary = results["settings"], results["summary"]
    is_papers = any(entry["paper_parameters"] is not None for entry in summary)
    rows = []
    for entry in summary:
        published = entry["published"] or {}
        papers = [
            f"{published['error_rate']:.2f} %" if published else "-",
            count(entry["paper_parameters"]),
            count(published.get("parameters")),
        ]
        rows.append(
            [
                rank_name(entry["rank"]),
                rate(entry),
                *(papers if is_papers else []),
                count(entry["layer_parameters"]),
                count(entry["model_parameters"]),
                f"{entry['seconds']:,.0f}",
                *([count(published.get("seconds"))] if is_papers else []),
            ]
        )
    columns = [
        "rank", "test error [95 %]",
        *(["published", "parameters, paper's count", "published"] if is_papers else []),
        "layer, true", "model, true", "seconds", *(["published"] if is_papers else []),
    ]  # fmt: skip
    name = settings.get("network")
    title = (
        f"From scratch: {settings['dataset']}{f', {name}' if name else ''}, "
        f"{settings['epochs']} epochs, batch {settings['batch_size']}, "
        f"{seeds_name(sorted({seed for entry in summary for seed in entry['seeds']}))}"
    )
    lines = [f"device: {results['device']}"]
    if any(entry["interval"] == "t" for entry in summary):
        lines.insert(0, "test error: mean over seeds with Student's interval; seconds: mean")
    return [table(title, columns, rows), plain(lines)]


def rank_name(rank: int | None) -> str:
    """Return a rank as tables write it."""
    return "full" if rank is None else str(rank)


def seeds_name(seeds: list[int]) -> str:
    """Return which seeds a table is of."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    in_a_row = seeds == list(range(seeds[0], seeds[-1] + 1)) if seeds else False
    return f"seeds {seeds[0]} to {seeds[-1]}" if in_a_row else f"seeds {', '.join(map(str, seeds))}"
