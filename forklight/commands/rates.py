"""What functions did between two samples of a server's status: rates and means, as rows of a table. Pure."""

from msgspec import Struct
from msgspec.structs import replace

from forklight.commands.rows import busy, failures, idle, memory
from forklight.commands.tables import Cell, Row, count
from forklight.observe.status import FunctionStatus, Status

HEADINGS = ("FUNCTION", "CALLS/S", "FAIL/S", "COLD", "QUEUE", "RUN", "CPU", "IDLE", "BUSY", "WAIT", "MEMORY")


class Rates(Struct, frozen=True, kw_only=True):
    """One function between the samples. A mean or share is None if nothing was called."""

    calls_per_s: float
    failed_per_s: float
    cold: float | None
    """the share of calls for which something had to be started"""
    wait_ms: float | None
    """from acceptance to an instance, on average"""
    run_ms: float | None
    cpu: float
    """processors used by calls that ended; 1.0 is one processor"""


def rates(before: FunctionStatus | None, now: FunctionStatus, elapsed_s: float) -> Rates:
    """`before` is None for a function that was added in between."""
    if before is None or sum(before.outcomes.values()) > sum(now.outcomes.values()):  # new, or its counters were reset
        before = replace(now, starts={}, outcomes={}, cpu_s=0.0, ran_s=0.0, waited_s=0.0)
    calls = sum(now.outcomes.values()) - sum(before.outcomes.values())
    started = sum(now.starts.values()) - sum(before.starts.values())
    warm = now.starts.get("warm", 0) - before.starts.get("warm", 0)
    return Rates(
        calls_per_s=calls / elapsed_s,
        failed_per_s=(failures(now) - failures(before)) / elapsed_s,
        cold=1 - warm / started if started else None,
        wait_ms=(now.waited_s - before.waited_s) / started * 1000 if started else None,
        run_ms=(now.ran_s - before.ran_s) / started * 1000 if started else None,
        cpu=(now.cpu_s - before.cpu_s) / elapsed_s,
    )


def rows(before: Status, now: Status) -> list[Row]:
    """Return the rows for HEADINGS, sorted by calls per second."""
    found = sorted(_looks(before, now), key=lambda one: (-one[0].calls_per_s, one[1].name))
    return [_row(rate, function) for rate, function in found]


def total_per_s(before: Status, now: Status) -> float:
    """Return the calls per second of all functions."""
    return sum(rate.calls_per_s for rate, _ in _looks(before, now))


def _looks(before: Status, now: Status) -> list[tuple[Rates, FunctionStatus]]:
    known = {function.name: function for function in before.functions}
    elapsed_s = max(0.001, now.uptime_s - before.uptime_s)
    return [(rates(known.get(function.name), function, elapsed_s), function) for function in now.functions]


def _row(rate: Rates, function: FunctionStatus) -> Row:
    pool = function.instances
    return (
        function.name,
        _number(rate.calls_per_s, "green"),
        _number(rate.failed_per_s, "red"),
        Cell("-", "dim") if rate.cold is None else Cell(f"{rate.cold:.0%}", "yellow" if rate.cold else "dim"),
        _ms(rate.wait_ms),
        _ms(rate.run_ms),
        Cell(f"{rate.cpu:.0%}", "" if rate.cpu >= 0.005 else "dim"),
        idle(function),
        busy(function),
        count(pool.waiting, "yellow"),
        memory(function),
    )


def _number(per_s: float, tone: str) -> Cell:
    return Cell(f"{per_s:,.1f}", tone if per_s else "dim")


def _ms(value: float | None) -> Cell:
    return Cell("-", "dim") if value is None else Cell(f"{value:,.1f} ms")
