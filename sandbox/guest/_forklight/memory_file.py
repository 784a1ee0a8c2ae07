"""Files in memory that one process fills and its template keeps for others, none of which can change them."""

import fcntl
import mmap
import os

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_BLOCK_BYTES = 512


def make(name: str) -> int:
    """A file that can be sealed; its descriptor. Raises OSError if there is no room."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal(file: int, most_bytes: int) -> mmap.mmap:
    """From now on nobody can change it. Returns it mapped, so that it counts as memory of this process.

    Raises OSError if another process has it mapped or sealed, or if there is no room, and ValueError if it is too large
    or has holes.
    """
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    status = os.fstat(file)
    if status.st_size > most_bytes:
        raise ValueError(f"it takes {status.st_size >> 20} MiB, and {most_bytes >> 20} MiB are allowed")
    if status.st_blocks * _BLOCK_BYTES < status.st_size:
        raise ValueError("it has holes")  # to map them would fill them in
    return mmap.mmap(file, 0, mmap.MAP_PRIVATE | mmap.MAP_POPULATE, mmap.PROT_READ)
