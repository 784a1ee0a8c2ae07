"""Draws tables over and over on a terminal, or prints them one after the other elsewhere."""

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import click

from forklight.commands.tables import Row, table
from forklight.observe.terminal import plain_lines, say_lines
from forklight.plain import plain

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""To the alternate screen with the cursor hidden, and back to what was there before (xterm's control sequences)."""
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"

Section = tuple[Row, Sequence[Row]]
"""Headings and rows."""


class Screen:
    """Use it inside `opened`, which restores the terminal at the end."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Switch to the terminal's alternate screen for the block."""
        if not self._is_terminal:
            yield
            return
        click.echo(_ENTER, nl=False)
        try:
            yield
        finally:
            click.echo(_LEAVE, nl=False)

    def show(self, title: str, sections: Iterable[Section], notes: Sequence[str]) -> None:
        """Draw a line, tables, and notes. On a terminal, what does not fit is cut off."""
        size = shutil.get_terminal_size() if self._is_terminal else None
        width = size.columns if size else None
        lines = [click.style(plain(title)[:width], bold=True)]
        for headings, rows in sections:
            if rows:
                lines += ["", *table(headings, rows, width)]
        told = [line for note in notes for line in plain_lines(note, "  ").split("\n")]
        lines += ["", *(line[:width] for line in told)] if told else []
        if size is None:
            say_lines("\n".join(lines))
        else:  # over what is there, so that nothing flickers
            drawn = "\n".join(f"{line}{_CLEAR_LINE}" for line in lines[: size.lines - 1])
            click.echo(f"{_HOME}{drawn}\n{_CLEAR_BELOW}", nl=False)
