"""What the kernel says of a process: its CPU time and its memory (proc(5))."""

from pathlib import Path
from typing import NamedTuple

KIB_PER_MIB = 1024


class Memory(NamedTuple):
    """MiB. USS is what only this process has, PSS also its share of what it has in common with others."""

    uss_mib: float
    pss_mib: float


def cpu_ns(pid: int) -> int:
    """Nanoseconds on a CPU so far, of all threads; `stat` would tell only hundredths of a second."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def memory(pid: int) -> Memory | None:
    """None where only root may look: a guest forbids its inspection (PR_SET_DUMPABLE 0), also to its own user."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except PermissionError:
        return None
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in text.splitlines()[1:])}
    return Memory((kib["Private_Clean"] + kib["Private_Dirty"]) / KIB_PER_MIB, kib["Pss"] / KIB_PER_MIB)
