"""Tables on a terminal: aligned columns, and a tone for cells that should stand out or recede."""

from collections.abc import Sequence

import click

from forklight.observe.terminal import say_lines
from forklight.plain import plain

Row = Sequence[str]


class Cell(str):
    """A text with a tone: `red`, `yellow`, `green`, `dim`, or none. Plain strings are cells without one."""

    tone: str

    def __new__(cls, text: str, tone: str = "") -> "Cell":
        """Return a cell with this text."""
        cell = super().__new__(cls, text)
        cell.tone = tone
        return cell


def count(number: int, tone: str = "") -> Cell:
    """Return a cell with a number: 0 is dim, anything else has the tone."""
    return Cell(str(number), tone if number else "dim")


def tone_of(cell: str) -> str:
    """Return the tone of a cell, or an empty string."""
    return cell.tone if isinstance(cell, Cell) else ""


def print_table(headings: Row, rows: Sequence[Row]) -> None:
    """Print aligned columns, if there are any rows; tones are shown on a terminal only."""
    for line in table(headings, rows) if rows else ():
        say_lines(line)


def table(headings: Row, rows: Sequence[Row], width: int | None = None) -> list[str]:
    """Return lines of aligned columns with tones, cut at `width` characters."""
    shown = [[Cell(plain(cell), tone_of(cell)) for cell in row] for row in rows]
    lines = [[Cell(heading, "dim") for heading in headings], *shown]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings) - 1)] + [0]
    return [_line(line, widths, width) for line in lines]


def _line(cells: Row, widths: Sequence[int], most: int | None) -> str:
    parts, at = [], 0
    for cell, width in zip(cells, widths, strict=True):
        padded = f"{cell:{width}}"
        cut = padded if most is None else padded[: max(0, most - at)]
        parts.append(_styled(cut, tone_of(cell)))
        at += len(padded) + 2
    return "  ".join(part for part in parts if part).rstrip()


def _styled(text: str, tone: str) -> str:
    match tone:
        case "":
            return text
        case "dim":
            return click.style(text, dim=True)
        case _:
            return click.style(text, fg=tone)
