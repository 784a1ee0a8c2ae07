"""The table of the cells, and the targets. Pure."""

from collections.abc import Sequence

from benchmarks.http_peers import FASTAPI, RAW_ASGI
from benchmarks.http_warm import HELLO, LARGE_UPLOAD, UPLOAD, Cell, Workload
from benchmarks.table import Row, Target, single

_HEADINGS = ("", "connections", "server", "CPU us", "of raw", "req/s", "p50 us", "p99 us")
_LEFT = (0, 2)
TARGET_CONNECTIONS = 16


def render(cells: Sequence[Cell]) -> str:
    """Aligned text that is also a Markdown table; `of raw` is the ratio of CPU time to the raw ASGI app's."""
    table = [_HEADINGS, *(_line(cell, cells) for cell in cells)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rule = tuple("-" * width for width in widths)
    return "\n".join(_padded(line, widths) for line in (table[0], rule, *table[1:]))


def targets(ours: str, cells: Sequence[Cell]) -> list[Row]:
    """What the warm path must reach, each beside the peer that sets it."""
    return [
        _target(ours, cells, HELLO, RAW_ASGI, 5),
        _target(ours, cells, HELLO, FASTAPI, 1),
        _target(ours, cells, UPLOAD, RAW_ASGI, 1.3),
        _target(ours, cells, LARGE_UPLOAD, RAW_ASGI, 1.3),
    ]


def _target(ours: str, cells: Sequence[Cell], workload: Workload, peer: str, limit: float) -> Row:
    found = {(cell.server, cell.workload, cell.connections): single(cell.cpu_us) for cell in cells}
    us, bare = (found[server, workload.name, TARGET_CONNECTIONS] for server in (ours, peer))
    name = f"CPU of {workload.name}, {TARGET_CONNECTIONS} connections, beside {peer}"
    return Row(name, "us", us, bare, Target(limit, of_ratio=True))


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
    )


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if column in _LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
