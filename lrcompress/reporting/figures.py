"""Figures, drawn with Matplotlib without a screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import OutputError, printable
from lrcompress.files import check_output, replacing
from lrcompress.reporting.drawn import unit_of
from lrcompress.reporting.words import PERCENT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
# Okabe & Ito's colours, told apart by colour-blind readers too; markers tell them apart in print.
_STYLES = {
    "svd": ("#D55E00", "o"),
    "centered": ("#0072B2", "s"),
    "whitened": ("#009E73", "^"),
    "refined": ("#CC79A7", "D"),
}


def check_figure(path: Path, *, inputs: tuple[Path, ...] = (), overwrite: bool = False) -> None:
    """Refuse a figure that cannot be written, before any work is done.

    Raises:
        OutputError: If the suffix names no format, or the file exists or cannot be made.
    """
    if path.suffix.lower() not in SUFFIXES:
        msg = f"Figure {path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, which decides its format."
        raise OutputError(msg, code="output_suffix")
    check_output(path, inputs=inputs, overwrite=overwrite)


def draw_sweep(document: dict[str, Any], path: Path, *, overwrite: bool = False) -> None:
    """Draw a sweep: error against rank and against what is saved, and the spectral error by rank.

    The paper's two figures, whose captions say "spectral norm" and whose axes show the error rate,
    are the first two and the third here.

    Args:
        document: What `sweep` found, as `SweepResult.to_json` gives it.
        path: Ends in ``.png``, ``.svg`` or ``.pdf``.
        overwrite: Whether an existing file is replaced.

    Raises:
        OutputError: If the file cannot be written.
    """
    # The object interface draws without a screen and leaves no global state.
    from matplotlib.figure import Figure

    # Figures of several outputs are not one line.
    measure = _measure(document)
    measured = measure != "outputs" and any(r.get(measure) is not None for r in document["rows"])
    figure = Figure(figsize=(13 if measured else 5.5, 4.2), layout="constrained")
    axes = figure.subplots(1, 3 if measured else 1, squeeze=False)[0]
    m, n = document["kernel_shape"]
    title = printable(f"{document['model']}: {document['layer']}, {m} x {n}")
    figure.suptitle(title, parse_math=False)
    if measured:
        draw_errors(document, axes[0], "rank", "rank")
        draw_errors(document, axes[1], "layer_reduction", "parameters of the layer saved, %")
    draw_spectral(document, axes[-1])
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    _save(figure, path, overwrite=overwrite, like=Path(document["model"]))


_ARM_STYLES = {
    "svd": ("#D55E00", "o"),
    "refined": ("#CC79A7", "D"),
    "finetuned": ("#0072B2", "s"),
    "scratch": ("#009E73", "^"),
}


def draw_compare(
    document: dict[str, Any], names: dict[str, str], path: Path, *, overwrite: bool = True
) -> None:
    """Draw a comparison: test error against rank, one line an arm, with 95 % intervals.

    Args:
        document: What `compare` found.
        names: Of the arms, for the legend.
        path: Ends in ``.png``, ``.svg`` or ``.pdf``.
        overwrite: Whether an existing file is replaced.

    Raises:
        OutputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axis = figure.subplots()
    draw_arms(document, names, axis)
    axis.set_title(printable(document["settings"]["dataset"]), parse_math=False)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    _save(figure, path, overwrite=overwrite)


def draw_arms(document: dict[str, Any], names: dict[str, str], axis: Any) -> None:  # noqa: ANN401
    """Draw the arms of a comparison on one axis, rank by rank."""
    entries = document["summary"]
    ranked = [entry for entry in entries if entry["rank"] is not None]
    for arm, (color, marker) in _ARM_STYLES.items():
        of_arm = sorted((e for e in ranked if e["arm"] == arm), key=lambda e: e["rank"])
        if not of_arm:
            continue
        rates = [entry["error_rate"] for entry in of_arm]
        ends = [
            [abs(entry[f"error_rate_{end}"] - entry["error_rate"]) for entry in of_arm]
            for end in ("low", "high")
        ]
        axis.errorbar([e["rank"] for e in of_arm], rates, yerr=ends, color=color, marker=marker,
                      markersize=4, capsize=3, linewidth=1.2, label=names[arm])  # fmt: skip
    flat = [entry for entry in entries if entry["rank"] is None]
    for entry, style in zip(flat, ("--", ":", "-."), strict=False):
        label = names[entry["arm"]]
        if entry["arm"] == "scratch":
            label = f"full rank, {label}"
        axis.axhline(entry["error_rate"], color="0.3", linestyle=style, label=label)
        low, high = entry["error_rate_low"], entry["error_rate_high"]
        axis.axhspan(low, high, color="0.3", alpha=0.08, linewidth=0)
    axis.set_xlabel("rank of the final layer")
    axis.set_ylabel("test error, %")
    lowest, highest = (f(entry["error_rate"] for entry in entries) for f in (min, max))
    if highest > 10 * max(lowest, 0.1):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        # An interval that reaches 0 would take the axis with it.
        axis.set_ylim(max(lowest, 0.1) / 2, 2 * highest)
    else:
        axis.set_ylim(bottom=0)
    ranks = sorted({entry["rank"] for entry in ranked})
    if ranks and ranks[-1] > 8 * ranks[0]:
        axis.set_xscale("log")
    axis.set_xticks(ranks, [str(rank) for rank in ranks], minor=False)
    axis.set_xticks([], minor=True)


def _save(
    figure: Figure,
    path: Path,
    *,
    overwrite: bool,
    like: Path | None = None,
) -> None:
    import matplotlib as mpl

    with replacing(path, overwrite=overwrite, like=like) as temporary:
        kind = path.suffix.lower().removeprefix(".")
        # No date and no random names inside: the same document gives the same file.
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        with mpl.rc_context({"svg.hashsalt": "lrcompress"}):
            figure.savefig(temporary, format=kind, dpi=150, metadata=dates)


def _measure(document: dict[str, Any]) -> str:
    """Return the key of what a sweep measured."""
    return str(document["original"].get("measure", "error_rate"))


def draw_errors(document: dict[str, Any], axis: Any, key: str, label: str) -> None:  # noqa: ANN401
    """Draw errors on test data with their intervals, and the original's."""
    scale, measure = 100 if key.endswith("reduction") else 1, _measure(document)
    for method, rows in _by_method(document).items():
        color, marker = _STYLES[method]
        x = [scale * row[key] for row in rows]
        axis.plot(x, [row[measure] for row in rows], color=color, marker=marker,
                  markersize=4, label=method)  # fmt: skip
        low, high = ([row[f"{measure}_{end}"] for row in rows] for end in ("low", "high"))
        axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    original = document["original"]
    if original:
        axis.axhline(original[measure], color="0.3", linestyle="--", label="original")
    axis.set_xlabel(label)
    axis.set_ylabel(unit_of(measure))
    highest = max(row[measure] for row in document["rows"])
    smallest = 0.1 if measure in PERCENT else 0.0
    if original and highest > 10 * max(original[measure], smallest):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")


def draw_spectral(document: dict[str, Any], axis: Any) -> None:  # noqa: ANN401
    """Draw the spectral norm of A - B C, relative to A's, and the least that a rank allows.

    Refinement serves the outputs only and goes far from A: its norms would hide all others.
    """
    sigma = document["singular_values"]
    ranks = range(1, min(document["break_even_rank"] or len(sigma), len(sigma) - 1) + 1)
    if sigma and sigma[0] > 0:
        axis.plot(list(ranks), [sigma[r] / sigma[0] for r in ranks], color="0.3", linestyle="--",
                  label="least possible, σᵣ₊₁ / σ₁")  # fmt: skip
    for method, rows in _by_method(document).items():
        if method == "refined":
            continue
        color, marker = _STYLES[method]
        axis.plot([row["rank"] for row in rows], [row["spectral_error"] for row in rows],
                  color=color, marker=marker, markersize=4, label=method)  # fmt: skip
    axis.set_xlabel("rank")
    axis.set_ylabel("spectral norm of A - B C over that of A")
    axis.set_ylim(bottom=0)


def _by_method(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(document["rows"], key=lambda row: row["rank"]):
        found.setdefault(row["method"], []).append(row)
    return found
