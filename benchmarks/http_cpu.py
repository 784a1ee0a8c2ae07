"""The CPU time of a process and all that descend from it, by proc(5)."""

import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class _Stat(NamedTuple):
    parent: int
    ticks: int


def tree_cpu_us(root: int) -> float:
    """Microseconds so far, user and system, also of descendants that ended and were waited for."""
    return sum(stat.ticks for stat in _tree(root).values()) * 1e6 / _TICKS_PER_S


def tree_pids(root: int) -> list[int]:
    """The process and all its descendants now."""
    return list(_tree(root))


def _tree(root: int) -> dict[int, _Stat]:
    stats = {int(path.name): stat for path in Path("/proc").glob("[0-9]*") if (stat := _stat(path)) is not None}
    children = defaultdict(list)
    for pid, stat in stats.items():
        children[stat.parent].append(pid)
    found, todo = {}, [root]
    while todo:
        pid = todo.pop()
        todo += children[pid]
        found[pid] = stats[pid]
    return found


def _stat(process: Path) -> _Stat | None:
    """None if it has just ended. Its name, which may hold anything, stands in the first brackets of the line."""
    try:
        text = (process / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return _Stat(parent=int(fields[1]), ticks=sum(map(int, fields[11:15])))
