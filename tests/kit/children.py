"""Who is whose child, by /proc."""

import contextlib
from pathlib import Path


def children(parent: int) -> list[int]:
    """The live children of a process; zombies are dead."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                # The name in brackets may have spaces and brackets: the fields begin after the last one (proc(5)).
                state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(ppid) == parent and state != "Z":
                    found.append(int(entry.name))
    return found
