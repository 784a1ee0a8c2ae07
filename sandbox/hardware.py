"""What the machine has for us: processors and memory, less if the container has less, and how short memory is."""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
PRESSURE = Path("/proc/pressure/memory")


def cores() -> int:
    """Return how many processors this process may use at the same time."""
    usable = len(os.sched_getaffinity(0))
    for folder in _own_cgroups():
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            if quota != "max":
                usable = min(usable, math.ceil(int(quota) / int(period)))
    return max(1, usable)


def kernel() -> tuple[int, int]:
    """Return the version of the running kernel, such as (6, 1)."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found is not None else (0, 0)


def memory_bytes() -> int:
    """Return the memory of the machine, or the limit of a control group (container) around this process if lower."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for folder in _own_cgroups():
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max" is no number, and no limit
                found = min(found, int((folder / name).read_text()))
    return found


def memory_pressure(path: Path = PRESSURE) -> float | None:
    """Return in how many per cent of the last 10 s a task waited for memory (PSI, `some avg10`); None if unknown."""
    try:
        with path.open(encoding="ascii") as file:
            fields = file.readline().split()
        return float(dict(field.partition("=")[::2] for field in fields)["avg10"])
    except (OSError, ValueError, KeyError):
        return None


def _own_cgroups() -> Iterator[Path]:
    """Yield the folders of the control groups around this process, of version 2 and of version 1's memory.

    A container often sees its own group as the root, whatever the path says.
    """
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers in ("", "memory"):
            root = _CGROUPS / controllers
            yield root
            folder = root
            for part in Path(path).parts[1:]:
                folder /= part
                yield folder
