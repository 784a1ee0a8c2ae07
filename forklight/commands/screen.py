"""A screen of tables that is drawn again and again on a terminal, or printed one after the other elsewhere."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from forklight.commands.tables import Row, tone_of
from forklight.observe.terminal import plain, plain_lines

_PAGE_WIDTH = 200
"""Where no terminal says how wide it is."""

Section = tuple[Row, Sequence[Row]]
"""Headings and rows."""


class Screen:
    """Use `opened`: what was on the terminal before comes back."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = _PAGE_WIDTH
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def opened(self) -> AbstractContextManager[object]:
        """The terminal is ours inside."""
        return self._live if self._console.is_terminal else nullcontext()

    def show(self, title: str, sections: Iterable[Section], notes: Sequence[str]) -> None:
        """One screen: a line, tables, and what does not fit in them."""
        parts: list[RenderableType] = [Text(plain(title), style="bold")]
        for headings, rows in sections:
            if rows:
                parts += [Text(""), _table(headings, rows)]
        parts += [Text(""), *(Text(plain_lines(note, "  ")) for note in notes)] if notes else []
        if self._console.is_terminal:
            self._live.update(Group(*parts), refresh=True)
        else:
            self._console.print(Group(*parts))


def _table(headings: Row, rows: Sequence[Row]) -> Table:
    columns = [Column(heading, header_style="dim", no_wrap=True) for heading in headings]
    table = Table(*columns, box=None, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*(Text(plain(cell), style=tone_of(cell)) for cell in row))
    return table
