"""The table of the cells, and the targets. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.http_peers import FASTAPI, GUNICORN, RAW_ASGI
from benchmarks.http_warm import HELLO, LARGE_UPLOAD, UPLOAD, Cell, Workload
from benchmarks.table import Row, Target, single

_HEADINGS = ("", "connections", "server", "CPU us", "of raw", "req/s", "p50 us", "p99 us", "p99.9 us")
_LEFT = (0, 2)
TARGET_CONNECTIONS = 16
OURS = "Forklight"
OURS_LOGGED = "Forklight, logging"
OURS_COMPILED = "Forklight, compiled"


class _Aim(NamedTuple):
    """At most `limit` times the CPU time of `beside`, or with `of_p50` its median latency."""

    server: str
    workload: Workload
    connections: int
    beside: str
    limit: float
    of_p50: bool = False


_AIMS = (
    _Aim(OURS, HELLO, 1, RAW_ASGI, 1.8),
    _Aim(OURS, HELLO, 1, RAW_ASGI, 2, of_p50=True),
    _Aim(OURS, HELLO, 16, RAW_ASGI, 2.5),
    _Aim(OURS, HELLO, 64, RAW_ASGI, 2.5),
    _Aim(OURS_COMPILED, HELLO, 16, RAW_ASGI, 2),
    _Aim(OURS_COMPILED, HELLO, 64, RAW_ASGI, 2),
    _Aim(OURS, HELLO, 16, FASTAPI, 1),
    _Aim(OURS, HELLO, 16, GUNICORN, 1),
    _Aim(OURS_LOGGED, HELLO, 16, OURS, 1.1),
    _Aim(OURS, UPLOAD, 16, RAW_ASGI, 1.3),
    _Aim(OURS, LARGE_UPLOAD, 16, RAW_ASGI, 1.3),
)


def render(cells: Sequence[Cell]) -> str:
    """Aligned text that is also a Markdown table; `of raw` is the ratio of CPU time to the raw ASGI app's."""
    table = [_HEADINGS, *(_line(cell, cells) for cell in cells)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rule = tuple("-" * width for width in widths)
    return "\n".join(_padded(line, widths) for line in (table[0], rule, *table[1:]))


def targets(cells: Sequence[Cell]) -> list[Row]:
    """What the warm path must reach, of what was measured, each beside what sets it."""
    found = {(cell.server, cell.workload, cell.connections): cell for cell in cells}
    rows = []
    for aim in _AIMS:
        ours, bare = (found.get((server, aim.workload.name, aim.connections)) for server in (aim.server, aim.beside))
        if ours and bare:
            kind = "p50" if aim.of_p50 else "CPU"
            mine, its = (single(cell.p50_us if aim.of_p50 else cell.cpu_us) for cell in (ours, bare))
            name = f"{kind} of {aim.workload.name}, c={aim.connections}, {aim.server} beside {aim.beside}"
            rows.append(Row(name, "us", mine, its, Target(aim.limit, of_ratio=True)))
    return rows


def _line(cell: Cell, cells: Sequence[Cell]) -> tuple[str, ...]:
    same_load = [other for other in cells if (other.workload, other.connections) == (cell.workload, cell.connections)]
    raw_us = next(other.cpu_us for other in same_load if other.server == RAW_ASGI)
    return (
        cell.workload,
        str(cell.connections),
        cell.server,
        f"{cell.cpu_us:.0f}",
        f"{cell.cpu_us / raw_us:.1f}",
        f"{cell.per_s:.0f}",
        f"{cell.p50_us:.0f}",
        f"{cell.p99_us:.0f}",
        f"{cell.p999_us:.0f}",
    )


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if column in _LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
