"""Figures as files, and as SVG that stands inside a page."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import OutputError, printable
from lrcompress.files import check_output, replacing
from lrcompress.reporting.charts.figures import draw_arms, draw_errors, draw_spectral, measure_of
from lrcompress.reporting.charts.sensitivity import draw_sensitivity, rows_of
from lrcompress.reporting.network import MOST_LINES, error_name, sensitivity_lines
from lrcompress.reporting.words import arm_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrcompress.reporting.charts import Chart

# Of a mark for each of a chart's points, in the units of the element; null beyond an axis.
Places = list[list[list[float | None]]]
SUFFIXES = (".png", ".svg", ".pdf")
WIDTH = 4.8
# Colour of a drawing to what a page gives it, in light and in dark; see templates/report.css.
_THEME = {
    "#000000": "currentColor", "#4d4d4d": "var(--soft)", "#4c4c4c": "var(--soft)",
    "#b0b0b0": "var(--grid)", "#cccccc": "var(--grid)", "#ffffff": "var(--paper)", "#8250df": "var(--accent)",
    "#0072b2": "var(--blue)", "#d55e00": "var(--orange)", "#009e73": "var(--green)",
    "#cc79a7": "var(--pink)",
}  # fmt: skip
_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_STYLE = {
    "font.family": "sans-serif", "font.size": 9, "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.8,
    # Letters stay letters: they can be searched, copied and read aloud.
    "svg.fonttype": "none", "svg.hashsalt": "lrcompress",
    # A dollar sign in a name is no formula.
    "text.parse_math": False,
}  # fmt: skip


def check_figure(path: Path, *, inputs: tuple[Path, ...] = (), overwrite: bool = False) -> None:
    """Refuse a figure that cannot be written, before any work is done."""
    if path.suffix.lower() not in SUFFIXES:
        msg = f"Figure {path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, which decides its format."
        raise OutputError(msg, code="output_suffix")
    check_output(path, inputs=inputs, overwrite=overwrite)


def draw_sweep(document: dict[str, Any], path: Path, *, overwrite: bool = False) -> None:
    """Draw a sweep: error against rank and against what is saved, and the spectral error by rank."""
    # The object interface draws without a screen and leaves no global state.
    from matplotlib.figure import Figure

    # Figures of several outputs are not one line.
    measure = measure_of(document)
    measured = measure != "outputs" and any(r.get(measure) is not None for r in document["rows"])
    figure = Figure(figsize=(13 if measured else 5.5, 4.2), layout="constrained")
    axes = figure.subplots(1, 3 if measured else 1, squeeze=False)[0]
    m, n = document["kernel_shape"]
    title = printable(f"{document['model']}: {document['layer']}, {m} x {n}")
    figure.suptitle(title, parse_math=False)
    if measured:
        saved = "parameters of the layer saved, %"
        draw_errors(document, "rank", "rank", None, None, axes[0])
        draw_errors(document, "layer_reduction", saved, None, None, axes[1])
    draw_spectral(document, axes[-1])
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    _write(figure, path, overwrite=overwrite, like=Path(document["model"]))


def draw_network_sweep(document: dict[str, Any], path: Path, *, overwrite: bool = False) -> None:
    """Draw the sensitivity of the layers of a network: error against what is saved, a small figure a layer."""
    from matplotlib.figure import Figure

    lines = [
        (printable(p), points, c) for p, points, c in sensitivity_lines(document, {}, MOST_LINES)
    ]
    figure = Figure(figsize=(8.5, 1.2 + 1.6 * rows_of(len(lines))), layout="constrained")
    draw_sensitivity(lines, error_name(document), figure)
    figure.suptitle(printable(document["model"]), parse_math=False)
    _write(figure, path, overwrite=overwrite, like=Path(document["model"]))


def draw_compare(document: dict[str, Any], path: Path) -> None:
    """Draw a comparison, in the place of an earlier one: test error against rank, one line an arm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axis = figure.subplots()
    draw_arms(document, arm_names(document["settings"]["finetune_epochs"]), axis)
    axis.set_title(printable(document["settings"]["dataset"]), parse_math=False)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    _write(figure, path, overwrite=True)


def _write(figure: Figure, path: Path, *, overwrite: bool, like: Path | None = None) -> None:
    import matplotlib as mpl

    with replacing(path, overwrite=overwrite, like=like) as temporary:
        kind = path.suffix.lower().removeprefix(".")
        # No date and no random names inside: the same document gives the same file.
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        with mpl.rc_context({"svg.hashsalt": "lrcompress"}):
            figure.savefig(temporary, format=kind, dpi=150, metadata=dates)


def check_plots(
    folder: Path, charts: list[Chart], *, inputs: tuple[Path, ...], overwrite: bool
) -> list[Path]:
    """Return the files that `write_plots` will write; refuse what cannot be written."""
    if folder.exists() and not folder.is_dir():
        msg = f"Folder for figures {folder} is a file; give another --plots."
        raise OutputError(msg, code="output_folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"Cannot make folder {folder} ({error.strerror}); give another --plots."
        raise OutputError(msg, code="output_folder") from error
    paths = [folder / f"{chart.name}.{kind}" for chart in charts for kind in ("png", "svg")]
    for path in paths:
        check_output(path, inputs=inputs, overwrite=overwrite)
    return paths


def write_plots(charts: list[Chart], paths: list[Path], *, overwrite: bool, like: Path) -> None:
    """Draw each figure to its files, PNG and SVG, in the order of `check_plots`."""
    for index, chart in enumerate(charts):
        for path in paths[2 * index : 2 * index + 2]:
            with replacing(path, overwrite=overwrite, like=like) as temporary:
                temporary.write_bytes(_drawn(chart, path.suffix[1:], facecolor="white")[0])


def inline(chart: Chart) -> tuple[str, Places]:
    """Return a figure as a page takes it in, with a hidden mark where there are places for it."""
    # Parsing what Matplotlib has just written.
    from xml.etree import ElementTree

    data, figure = _drawn(chart, "svg", facecolor="none")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    root = ElementTree.fromstring(data)  # noqa: S314
    for parent in list(root.iter()):
        for child in list(parent):
            # A style of `*` would reach the whole page; the title comes anew, with an id.
            if child.tag in [f"{{{_SVG}}}{tag}" for tag in ("metadata", "style", "title")]:
                parent.remove(child)
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            element.set(key, _renamed(key, value, chart.name))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("class", "chart")
    root.set("role", "img")
    root.set("aria-labelledby", f"{chart.name}-title {chart.name}-desc")
    for place, (tag, words) in enumerate((("title", chart.title), ("desc", chart.description))):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{chart.name}-{tag}"})
        element.text = printable(words)
        root.insert(place, element)
    if chart.points:
        root.append(ElementTree.fromstring(_mark(figure, chart.name)))  # noqa: S314
    return ElementTree.tostring(root, encoding="unicode"), _places(figure, chart.points)


def _mark(figure: Figure, name: str) -> str:
    """Return what the slider of a page moves: a line through all axes, and a ring."""
    boxes = [axis.get_position() for axis in figure.axes]
    height = 72 * figure.get_figheight()
    top, bottom = ((1 - y) * height for y in (boxes[0].y1, boxes[-1].y0))
    return (
        f'<g xmlns="{_SVG}" id="{name}-mark" class="mark" visibility="hidden">'
        f'<line x1="0" x2="0" y1="{top:.1f}" y2="{bottom:.1f}" /><circle r="5" /></g>'
    )


def _places(figure: Figure, points: list[list[tuple[float, float | None]]]) -> Places:
    """Return where points of the last axes lie in the SVG, which counts in points of a letter from the top left."""
    if not points:
        return []
    axis, size = figure.axes[-1], figure.bbox.size
    width, height = 72 * figure.get_size_inches()
    lowest = axis.get_ylim()[0]

    def place(x: float, y: float | None) -> list[float | None]:
        at = axis.transData.transform((x, lowest if y is None else y)) / size
        across, down = float(at[0] * width), float((1 - at[1]) * height)
        return [
            round(across, 1) if math.isfinite(across) else None,
            round(down, 1) if y is not None and math.isfinite(down) else None,
        ]

    return [[place(*point) for point in row] for row in points]


def _renamed(key: str, value: str, prefix: str) -> str:
    """Return an attribute with this figure's ids and the page's colours and font."""
    if key == "id":
        return f"{prefix}-{value}"
    if key in (f"{{{_LINK}}}href", "href") and value.startswith("#"):
        return f"#{prefix}-{value[1:]}"
    value = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", value)
    if key == "style":
        value = re.sub(r"#[0-9a-f]{6}", lambda match: _THEME.get(match[0], match[0]), value)
        # The page's own letters, at the size of the drawing.
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
    return value


def _drawn(chart: Chart, kind: str, *, facecolor: str) -> tuple[bytes, Figure]:
    """Return a figure as a file's bytes, the same ones for the same numbers, and as it was drawn."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    metadata = {"Title": printable(chart.title), "Description": printable(chart.description)}
    if kind == "svg":
        metadata["Date"] = None  # type: ignore[assignment]
    # The caller's own settings come back at the end.
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, chart.height), layout="constrained")
        chart.draw(figure)
        figure.savefig(buffer, format=kind, dpi=200, facecolor=facecolor, metadata=metadata)
    return buffer.getvalue(), figure
