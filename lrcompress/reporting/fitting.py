"""A table that fits the terminal: as it is, or narrower, or else row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

# A longer word, such as a path, may be broken.
LONGEST_WORD = 24


@dataclass(frozen=True)
class FittedTable:
    """A table that breaks no figure in two, however narrow the terminal is.

    Attributes:
        title: Above the table.
        columns: Their headers.
        rows: Cells of text, as many in each as there are columns.
        left: How many columns from the left hold words; the others hold figures.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    left: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the first form that fits."""
        n = len(self.columns)
        natural = [max(map(_width, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        if sum(natural) + 3 * n + 1 <= options.max_width:
            yield self._table(self.rows, natural, padding=1)
            return
        # Narrower: headers and words may wrap, and an interval goes below its figure.
        rows = [[cell.replace(" [", "\n[") for cell in row] for row in self.rows]
        natural = [max(map(_width, cells)) for cells in zip(self.columns, *rows, strict=True)]
        least = [
            max(_longest_word(column), *map(_longest_word if i < self.left else _least, cells))
            for i, (column, *cells) in enumerate(zip(self.columns, *rows, strict=True))
        ]
        room = options.max_width - 2 * n - 1
        if sum(least) <= room:
            yield self._table(rows, _shared_out(natural, least, room), padding=0)
        else:
            yield from self._row_by_row()

    def _table(self, rows: list[list[str]], widths: list[int], *, padding: int) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(self.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, padding),
        )  # fmt: skip
        for index, (column, width) in enumerate(zip(self.columns, widths, strict=True)):
            justify = "left" if index < self.left else "right"
            table.add_column(Text(column), justify=justify, overflow="fold", width=width)  # type: ignore[arg-type]
        for row in rows:
            table.add_row(*map(Text, row))
        return table

    def _row_by_row(self) -> RenderResult:
        """Yield each row's words, and below them its figures, a line each."""
        from rich.text import Text

        words = self.left if 0 < self.left < len(self.columns) else 1
        yield Text(self.title, style="bold")
        for row in self.rows:
            named = [f"{c} {cell}".strip() for c, cell in zip(self.columns, row, strict=True) if cell]
            yield Text("\n".join([", ".join(named[:words]), *(f"  {line}" for line in named[words:])]))
        yield Text("")


def _width(cell: str) -> int:
    """Return how many columns of a terminal a cell takes."""
    from rich.cells import cell_len

    return max(map(cell_len, cell.split("\n")))


def _longest_word(cell: str) -> int:
    """Return to how few columns words can be wrapped."""
    return max((min(_width(word), LONGEST_WORD) for word in cell.split()), default=0)


def _least(cell: str) -> int:
    """Return to how few columns a figure can be: it stays whole, with its unit; words do not."""
    is_figure = any(character.isdigit() for character in cell)
    return _width(cell) if is_figure else _longest_word(cell)


def _shared_out(natural: list[int], least: list[int], room: int) -> list[int]:
    """Return widths that fit the room: the widest gives way first, none goes below its least."""
    widths = list(natural)
    while sum(widths) > room:
        widest = max((i for i, w in enumerate(widths) if w > least[i]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths
