"""One figure: its numbers, the words for those who do not see it, and how it is drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress.lowrank import METHODS as REGISTERED

FIGURES = Path(__file__).parent.parent / "figures"
RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"

# Okabe and Ito's colours, which colour-blind readers tell apart; methods as in the reports.
BLUE, ORANGE, GREEN, PINK, SKY, AMBER = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00",
)  # fmt: skip
INK, SOFT = "#000000", "#4d4d4d"
METHODS = {
    name: {"color": REGISTERED[name].color.lower(), "marker": REGISTERED[name].marker}
    for name in REGISTERED
}
# In dark pages.
_DARK = {
    "#000000": "#e6edf3", "#4d4d4d": "#a3adb8", "#4c4c4c": "#a3adb8", "#b0b0b0": "#8c959f", "#cccccc": "#57606a",
    "#ffffff": "#1e2129", BLUE: "#58a6ff", ORANGE: "#f0883e", GREEN: "#3fb98a", PINK: "#e391c2", SKY: "#79c8f2",
    AMBER: "#e9b44c",
}  # fmt: skip
NETWORKS = {"mnist": "MNIST", "cifar100": "CIFAR-100", "digits": "digits"}
_STYLE = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "lines.markersize": 4, "lines.linewidth": 1.3, "axes.axisbelow": True, "grid.alpha": 0.3,
    "legend.frameon": False,
    # Letters stay letters: they can be searched, copied and read aloud.
    "svg.fonttype": "none", "svg.hashsalt": "lrcompress",
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn.

    Attributes:
        name: Its file's stem in docs/figures.
        alt: What there is to see.
        numbers: All that it is drawn from, as JSON can hold it.
        draw: Draws them on an empty Matplotlib figure.
        size: Width and height in inches; 8 wide fills the text of a page.
    """

    name: str
    alt: str
    numbers: Any
    draw: Callable[[Any, Any], None]
    size: tuple[float, float] = (8.0, 3.6)

    @property
    def path(self) -> Path:
        """Return its file."""
        return FIGURES / f"{self.name}.svg"

    @property
    def digest(self) -> str:
        """Return what tells these numbers from others; it stands in the file."""
        text = json.dumps(self.numbers, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def markdown(self) -> str:
        """Return the line of a page that shows it."""
        return f"![{self.alt}](figures/{self.name}.svg)"

    def write(self, path: Path | None = None) -> None:
        """Write the figure to its file, or to another one of a format that Matplotlib knows."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        path = path or self.path
        metadata = {"Title": self.name, "Description": f"sha256 of its numbers: {self.digest}"}
        if path.suffix == ".svg":
            # No date inside: the same numbers give the same file.
            metadata["Date"] = None  # type: ignore[assignment]
        with mpl.rc_context(_STYLE):
            # A picture of numbers has no ground of its own in a page, which may be dark.
            ground = "none" if path.suffix == ".svg" else "white"
            figure = Figure(figsize=self.size, layout="constrained", facecolor=ground)
            figure.get_layout_engine().set(w_pad=0.08)
            self.draw(self.numbers, figure)
            path.parent.mkdir(exist_ok=True)
            figure.savefig(path, metadata=metadata, dpi=110, facecolor=ground)
        if path.suffix == ".svg":
            path.write_text(_for_the_dark(path.read_text(encoding="utf-8")), encoding="utf-8")


def _for_the_dark(text: str) -> str:
    """Return an SVG with other colours where the page around it is dark; what does not know of that draws it as it is."""
    rules = ["text{fill:#e6edf3}"]
    for light, dark in _DARK.items():
        for what in ("fill", "stroke"):
            rules.append(f'[style*="{what}: {light}"]{{{what}:{dark}!important}}')
    style = f"<style>@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>"
    return text.replace("</defs>", f"{style}</defs>", 1)


def read(name: str) -> Any:  # noqa: ANN401
    """Return one committed result."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def committed(pattern: str) -> list[str]:
    """Return the names of the committed results that a pattern finds, in order."""
    return sorted(path.name for path in RESULTS.glob(pattern))


def plain_log(axis: Any, which: str) -> None:  # noqa: ANN401
    """Give an axis a logarithmic scale with numbers as people write them, after all is drawn."""
    from matplotlib.ticker import LogLocator

    getattr(axis, f"set_{which}scale")("log")
    low, high = getattr(axis, f"get_{which}lim")()
    side = getattr(axis, f"{which}axis")
    # Numbers beside each other need more room than numbers above each other.
    room = {"x": 100, "y": 500}[which]
    side.set_major_locator(LogLocator(subs=(1, 2, 5) if high < room * low else (1,)))
    side.set_major_formatter("{x:,g}")
    side.set_minor_formatter("")


def rank_axis(axis: Any, ranks: list[int]) -> None:  # noqa: ANN401
    """Name the ranks below an axis, logarithmic where they span much."""
    if max(ranks) > 8 * min(ranks):
        axis.set_xscale("log")
    axis.set_xticks(ranks, [f"{rank}" for rank in ranks], minor=False)
    axis.set_xticks([], minor=True)
    axis.set_xlabel("rank")


def ends(low: float, value: float, high: float) -> tuple[list[float], list[float]]:
    """Return the two lengths of an error bar as Matplotlib wants them."""
    return [max(value - low, 0.0)], [max(high - value, 0.0)]
