"""Text of `train-from-scratch` and `compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.reporting.tables import drop, plain, table
from lrcompress.reporting.words import count, rate

if TYPE_CHECKING:
    from rich.console import RenderableType

# The arms of a comparison, in the order of tables.
ARMS = ("full", "full-finetuned", "svd", "refined", "finetuned", "scratch")


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
                count(entry["seconds"]),
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
    if not seeds:
        return "any seed"
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    in_a_row = len(seeds) == seeds[-1] - seeds[0] + 1
    return f"seeds {seeds[0]} to {seeds[-1]}" if in_a_row else f"seeds {', '.join(map(str, seeds))}"


def render_compare(results: dict[str, Any]) -> list[RenderableType]:
    """Show the arms of `compare`, rank by rank, with their differences to full rank."""
    settings, summary = results["settings"], results["summary"]
    extra = settings["finetune_epochs"]
    names = arm_names(extra)
    rows = []
    rank_before: object = ""
    for entry in summary:
        rows.append(
            [
                "" if entry["rank"] == rank_before else rank_name(entry["rank"]),
                names[entry["arm"]],
                rate(entry),
                *_paired(entry["against_full"]),
                count(entry["layer_parameters"]),
                count(entry["model_parameters"]),
                count(entry["seconds"]),
                count(entry["images"]),
                count(entry["images_total"]),
            ]
        )
        rank_before = entry["rank"]
    columns = [
        "rank", "arm", "test error [95 %]", "against full rank [95 %]", "p", "layer",
        "model", "seconds", "samples", "samples in all",
    ]  # fmt: skip
    seeds = sorted({seed for entry in summary for seed in entry["seeds"] if seed is not None})
    title = f"Comparison: {_subject(settings)}, {_epochs(results)}{seeds_name(seeds)}"
    return [table(title, columns, rows, left=2), plain(_notes(results, names))]


def arm_names(extra: int) -> dict[str, str]:
    """Return how tables and figures call the arms; `extra` epochs are those of fine-tuning."""
    epochs = f"{extra} epoch" if extra == 1 else f"{extra} epochs"
    return {
        "full": "full rank",
        "full-finetuned": f"full rank + {epochs}",
        "svd": "SVD, nothing trained",
        "refined": "best head, nothing trained",
        "finetuned": f"SVD + {epochs}",
        "scratch": "from scratch",
    }


def _subject(settings: dict[str, Any]) -> str:
    network = settings.get("network")
    return f"{settings['dataset']}, {network}" if network else str(settings["dataset"])


def _epochs(results: dict[str, Any]) -> str:
    settings = results["settings"]
    full = settings.get("full_epochs")
    parts = [] if full is None else [f"full rank {full} epochs"]
    if any(entry["arm"] == "scratch" for entry in results["summary"]):
        parts.append(f"from scratch {settings['scratch_epochs']} epochs")
    return "".join(f"{part}, " for part in parts)


def _paired(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return ["-", "-"]
    return [drop({"drop": found}), _p(found["p_value"])]


def _p(value: float) -> str:
    """Return a p-value; what is beyond doubt is not told further."""
    return f"{value:.2g}" if value >= 1e-16 else "< 1e-16"


def _notes(results: dict[str, Any], names: dict[str, str]) -> list[str]:
    lines = [
        f"rank {entry['rank']}: {names['finetuned']} against from scratch "
        f"{drop({'drop': found})}, p {_p(found['p_value'])}{_images(entry, results['summary'])}"
        for entry in results["summary"]
        if entry["arm"] == "finetuned" and (found := entry["against_scratch"]) is not None
    ]
    several = any(entry["interval"] == "t" for entry in results["summary"])
    if several:
        lines.append(
            "several seeds: means over seeds, with Student's intervals and p-values; one seed: McNemar's test"
        )
    lines.append(
        "samples: seen in training; in all, with those that the full-rank network saw before"
    )
    return [*lines, f"device: {results['device']}"]


def _images(entry: dict[str, Any], summary: list[dict[str, Any]]) -> str:
    """Say what share of the images of training from scratch the arm saw."""
    scratch = next(
        e["images"] for e in summary if (e["arm"], e["rank"]) == ("scratch", entry["rank"])
    )
    if not scratch or entry["images"] is None:
        return ""
    text = f", {entry['images'] / scratch:.0%} of its samples"
    if entry["images_total"] is not None:
        text += f" ({entry['images_total'] / scratch:.0%} with full rank's)"
    return text
