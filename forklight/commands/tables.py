"""Tables on a terminal: aligned columns, and a tone for what should catch the eye, or should not."""

from collections.abc import Sequence

import click

from forklight.observe.terminal import plain, say_lines

Row = Sequence[str]


class Cell(str):
    """A text with a tone: `red`, `yellow`, `green`, `dim`, or none. Plain strings are cells without one."""

    tone: str

    def __new__(cls, text: str, tone: str = "") -> "Cell":
        """A cell that reads `text`."""
        cell = super().__new__(cls, text)
        cell.tone = tone
        return cell


def count(number: int, tone: str = "") -> Cell:
    """A number: 0 is dim, anything else has the tone."""
    return Cell(str(number), tone if number else "dim")


def tone_of(cell: str) -> str:
    """Its tone, if it has one."""
    return cell.tone if isinstance(cell, Cell) else ""


def print_table(headings: Row, rows: Sequence[Row]) -> None:
    """Aligned columns, if there are any rows; tones are shown on a terminal only."""
    if not rows:
        return
    shown = [[Cell(plain(cell), tone_of(cell)) for cell in row] for row in rows]
    lines = [[Cell(heading, "dim") for heading in headings], *shown]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings) - 1)] + [0]
    for line in lines:
        cells = zip(line, widths, strict=True)
        say_lines("  ".join(_styled(cell, width) for cell, width in cells).rstrip())


def _styled(cell: str, width: int) -> str:
    padded = f"{cell:{width}}"
    match tone_of(cell):
        case "":
            return padded
        case "dim":
            return click.style(padded, dim=True)
        case tone:
            return click.style(padded, fg=tone)
