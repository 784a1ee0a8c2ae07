"""Room on a disk: whether what comes will fit, before any of it comes. Blocks."""

import errno
import os
from pathlib import Path

from forklight.packages.errors import DiskFull

SPARED_BYTES = 16 * 1024 * 1024
"""What no package may take: the server's own files, such as its queues, need room to grow."""


def check_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise DiskFull if the disk of a folder, which may not exist yet, has no room for `what`."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    found = os.statvfs(there)
    free_bytes = found.f_bavail * found.f_frsize
    lacking_bytes = needed_bytes + SPARED_BYTES - free_bytes
    if lacking_bytes > 0:
        parts = f"it needs {_told(needed_bytes)}, and {_told(SPARED_BYTES)} are left to the server's own files"
        free = f"{_told(free_bytes)} are free, so {_told(lacking_bytes)} are missing: free some room, then do it again"
        raise DiskFull(f"{what} does not fit on the disk of {there}: {parts}; {free}")


def is_full(error: BaseException) -> bool:
    """Whether an error is a full disk's, or comes of one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, DiskFull) or (isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def refusal(error: OSError, state: Path) -> str:
    """Return what the system refused, where, and what helps if a disk is full: that of `state`, if none is named."""
    place = f"{error.filename}: " if error.filename else ""
    remedy = f": free some room on the disk of {error.filename or state}, then do it again" if is_full(error) else ""
    return f"{place}{error.strerror or error}{remedy}"


def _told(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
