"""Tables and lines of text; a table fits the terminal: as it is, or narrower, or in parts, or else row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from lrcompress.errors import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

# What a command shows: tables and lines.
Parts: TypeAlias = "list[RenderableType]"
# A column's header, and what it writes of an entry.
Column: TypeAlias = tuple[str, Callable[[dict[str, Any]], str]]
# A longer word, such as a path, may be broken.
LONGEST_WORD = 24


def table(
    title: str | list[str], columns: list[str], rows: list[list[str]], left: int = 1
) -> RenderableType:
    """Return a table whose first `left` columns are words and the others numbers; its title may be lines."""
    return FittedTable(
        title="\n".join(map(printable, [title] if isinstance(title, str) else title)),
        columns=columns,
        rows=[[printable(cell) for cell in row] for row in rows],
        left=left,
    )


def grid(
    title: str, columns: Sequence[Column], entries: Sequence[dict[str, Any]], left: int = 1
) -> RenderableType:
    """Return a table with a row an entry."""
    rows = [[write(entry) for _, write in columns] for entry in entries]
    return table(title, [name for name, _ in columns], rows, left)


def of(key: str, write: Callable[[Any], str] = str) -> Callable[[dict[str, Any]], str]:
    """Return what writes one value of an entry."""
    return lambda entry: write(entry[key])


def plain(lines: list[str]) -> RenderableType:
    """Return lines of text, free of control characters and markup."""
    from rich.text import Text

    return Text("\n".join(printable(line).rstrip() for line in lines))


@dataclass(frozen=True)
class FittedTable:
    """A table that breaks no figure in two, however narrow the terminal is."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    left: int  # how many columns hold words; the others hold figures

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the first form that fits."""
        every = list(range(len(self.columns)))
        natural = [max(map(_width, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        if sum(natural) + 3 * len(every) + 1 <= options.max_width:
            yield self._table(self.title, every, self.rows, natural, padding=1)
            return
        # Narrower: headers and words may wrap, and an interval goes below its figure.
        rows = [[cell.replace(" [", "\n[") for cell in row] for row in self.rows]
        natural = [max(map(_width, cells)) for cells in zip(self.columns, *rows, strict=True)]
        least = [
            max(_longest_word(column), *map(_longest_word if i < self.left else _least, cells))
            for i, (column, *cells) in enumerate(zip(self.columns, *rows, strict=True))
        ]
        parts = self._parts(least, options.max_width)
        for number, part in enumerate(parts):
            room = options.max_width - _frame(part)
            widths = _shared_out([natural[i] for i in part], [least[i] for i in part], room)
            yield self._table("" if number else self.title, part, rows, widths, padding=0)
        if not parts:
            yield from self._row_by_row()

    @property
    def _words(self) -> int:
        """How many columns say what a row is of."""
        return self.left if 0 < self.left < len(self.columns) else 1

    def _parts(self, least: list[int], width: int) -> list[list[int]]:
        """Return the columns of each part, what the row is of in all; none if one would not fit."""

        def fits(part: list[int]) -> bool:
            return sum(least[i] for i in part) + _frame(part) <= width

        words = list(range(self._words))
        parts = [list(words)]
        for group in self._groups():
            if fits(parts[-1] + group):
                parts[-1] += group
            elif fits(words + group):
                parts.append(words + group)
            else:
                return []
        return parts

    def _groups(self) -> list[list[int]]:
        """Return the other columns; one whose header does not tell it apart stays by the one before."""
        groups: list[list[int]] = []
        for i, column in list(enumerate(self.columns))[self._words :]:
            if groups and (not column or self.columns.count(column) > 1):
                groups[-1].append(i)
            else:
                groups.append([i])
        return groups

    def _table(
        self, title: str, part: list[int], rows: list[list[str]], widths: list[int], *, padding: int
    ) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(title, style="bold") if title else None, title_justify="left",
            box=box.SIMPLE_HEAD, padding=(0, 1, 0, padding),
        )  # fmt: skip
        for i, width in zip(part, widths, strict=True):
            table.add_column(
                Text(self.columns[i]), justify="left" if i < self.left else "right",
                overflow="fold", width=width,
            )  # fmt: skip
        for row in rows:
            table.add_row(*(Text(row[i]) for i in part))
        return table

    def _row_by_row(self) -> RenderResult:
        """Yield each row's words, and below them its figures, a line each."""
        from rich.text import Text

        yield Text(self.title, style="bold")
        for row in self.rows:
            pairs = zip(self.columns, row, strict=True)
            named = [f"{column} {cell}".strip() if cell else "" for column, cell in pairs]
            words = ", ".join(filter(None, named[: self._words]))
            yield Text("\n".join([words, *(f"  {line}" for line in named[self._words :] if line)]))
        yield Text("")


def _frame(part: list[int]) -> int:
    """Return what the lines and spaces between columns take."""
    return 2 * len(part) + 1


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
