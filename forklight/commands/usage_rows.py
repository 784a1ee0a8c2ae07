"""What functions have held and used, in words: the table of `ps --usage` and the last line of `serve`. Pure."""

import math

from forklight.commands.rows import duration
from forklight.commands.tables import Cell, Row, count
from forklight.observe.status import FunctionUsage, StartUsage, Usage

HEADINGS = ("FUNCTION", "EVENTS", "HELD", "ALWAYS ON", "PEAK", "CPU", "OF CALLS", "STARTS (p50, p99)")
_S_PER_H = 3600
_ORDER = ("warm", "spare", "fork", "load", "boot")


def rows(usage: Usage) -> list[Row]:
    """Return the rows for HEADINGS: each function, what they share, the sum."""
    removed = [usage.removed] if usage.removed is not None else []
    shared = [_row(one, "dim") for one in (*removed, usage.runtimes)]
    return [*(_row(function) for function in usage.functions), *shared, _row(usage.total)]


def notes(usage: Usage) -> list[str]:
    """Return what the table does not say."""
    if not usage.total.events:
        return []
    server = f"the server itself: {usage.server_mib:.0f} MiB now, {_cpu(usage.server_cpu_s)} of CPU, in no sum above"
    return [server]


def last_line(usage: Usage, up_s: float) -> str:
    """Return what a server did in its life; empty if it ran nothing."""
    total = usage.total
    if not total.events:
        return ""
    functions = "1 function" if usage.used == 1 else f"{usage.used} functions"
    events = "1 event" if total.events == 1 else f"{total.events:,} events"
    held = f"{memory_time(total.held_mib_s)} held where always-on would have held {memory_time(total.always_on_mib_s)}"
    return f"served {events} of {functions} in {duration(up_s)}: {held}; {_cpu(total.cpu_s)} of CPU; {_starts(total)}"


def memory_time(mib_s: float) -> str:
    """Return MiB·h, for little MiB·s, for much GiB·h."""
    if mib_s < 0.1 * _S_PER_H:
        return f"{_three_digits(mib_s)} MiB·s"
    mib_h = mib_s / _S_PER_H
    return f"{_three_digits(mib_h)} MiB·h" if mib_h < 1000 else f"{_three_digits(mib_h / 1024)} GiB·h"


def _row(function: FunctionUsage, tone: str = "") -> Row:
    cells = (
        function.name,
        f"{function.events:,}",
        memory_time(function.held_mib_s),
        memory_time(function.always_on_mib_s),
        count(function.most_used),
        _cpu(function.cpu_s),
        _cpu(function.calls_cpu_s),
        _starts(function) or "-",
    )
    return tuple(Cell(cell, tone) for cell in cells) if tone else cells


def _starts(function: FunctionUsage) -> str:
    parts = [(kind, function.starts[kind]) for kind in _ORDER if kind in function.starts]
    return ", ".join(_start(kind, one) for kind, one in parts)


def _start(kind: str, one: StartUsage) -> str:
    """Return such as `1.9 % fork (p50 1.6 ms, p99 4 ms)`."""
    return f"{_percent(one.share)} {kind} (p50 {_ms(one.p50_ms)}, p99 {_ms(one.p99_ms)})"


def _percent(share: float) -> str:
    """Return a share with one decimal; what is not quite all is never shown as 100 %, nor something as 0 %."""
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(99.9, max(0.1, round(share * 100, 1))):g} %"


def _ms(value: float) -> str:
    """Return a duration with two digits: the buckets that it comes from know no more."""
    number, unit = (value * 1000, "µs") if value < 0.995 else (value, "ms")
    rounded = round(number, 1 - math.floor(math.log10(number))) if number else 0
    return f"{rounded:,g} {unit}"


def _cpu(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{_three_digits(seconds)} s"


def _three_digits(value: float) -> str:
    """Return a number with three significant digits, of a large one all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
