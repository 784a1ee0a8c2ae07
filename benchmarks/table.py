"""The one table: what was measured, what the bare thing beside it took, their ratio, and the target. Pure."""

from collections.abc import Sequence
from typing import NamedTuple


class Quantiles(NamedTuple):
    """The median and the 99th percentile; of a single figure, twice the same."""

    p50: float
    p99: float


class Target(NamedTuple):
    """At most `limit`, of the median itself or of its ratio to the bare median."""

    limit: float
    of_ratio: bool = False
    plus: float = 0.0
    """With `of_ratio`: the median may be so much more."""
    at_least: bool = False
    """`limit` is a lower one."""


class Row(NamedTuple):
    """One measurement in `unit`; `bare` was measured alternately with it. `ours` is None where `note` says why."""

    name: str
    unit: str
    ours: Quantiles | None
    bare: Quantiles | None = None
    target: Target | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times the bare median."""
        return self.ours.p50 / self.bare.p50 if self.ours and self.bare else None


def quantiles(samples: Sequence[float]) -> Quantiles:
    """By nearest rank: each is a sample that was really seen."""
    ordered = sorted(samples)
    return Quantiles(ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)])


def single(figure: float) -> Quantiles:
    """A figure that is a mean or a total, with no distribution of its own."""
    return Quantiles(figure, figure)


_HEADINGS = ("", "unit", "p50", "p99", "bare p50", "bare p99", "ratio", "target", "")


def render(rows: Sequence[Row]) -> str:
    """The rows as aligned text that is also a Markdown table, and below it each note once."""
    table = [_HEADINGS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rule = tuple("-" * width for width in widths)
    lines = [_line(cells, widths) for cells in (table[0], rule, *table[1:])]
    return "\n".join([*lines, *dict.fromkeys(row.note for row in rows if row.note)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def _cells(row: Row) -> tuple[str, ...]:
    target, verdict = _judge(row)
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    return (row.name, row.unit, *_pair(row.ours, "unknown"), *_pair(row.bare, ""), ratio, target, verdict)


def _pair(found: Quantiles | None, missing: str) -> tuple[str, str]:
    if found is None:
        return missing, ""
    return _figure(found.p50), "" if found.p50 == found.p99 else _figure(found.p99)


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _judge(row: Row) -> tuple[str, str]:
    """The target as text, and whether it was met."""
    if row.target is None:
        return "", ""
    limit, of_ratio, plus, at_least = row.target
    more = f" + {plus:g}" if plus else ""
    text = f"{'>=' if at_least else '<='} {limit:g}{'x bare' if of_ratio else ''}{more}"
    if row.ours is None or (of_ratio and row.bare is None):
        return text, ""
    most = limit * row.bare.p50 + plus if of_ratio and row.bare else limit
    return text, "met" if (row.ours.p50 >= most if at_least else row.ours.p50 <= most) else "missed"
