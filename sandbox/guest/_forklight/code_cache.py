"""The file in memory by which the instances of a template share what each of them would compile.

An instance writes it once the function is loaded, and closes it before its first event (node/start.js), so no event has
a part in it. From then on only the template has it open, which seals it when it is whole, and gives it to all later
instances: none of them can change what others run. Each attempt has a file of its own, so an instance that dies
half-way, or writes while another does, leaves nothing that anybody reads.
"""

import mmap
import os

from . import memory_file

MARK = b"FLcache1"
"""The beginning of a file that is whole: it is written last."""
_MOST_ATTEMPTS = 3
"""Some functions have too much code, or never get that far."""
_MOST_BYTES = 40 << 20
"""More than the guest ever writes: what is mapped takes memory, and the function could have written it."""


class CodeCache:
    """That of one template."""

    def __init__(self) -> None:
        self._attempts = 0
        self._fd = -1
        """The file of the last attempt."""
        self._whole: mmap.mmap | None = None
        """Mapped, so that it counts as memory of the template."""

    def next(self) -> "tuple[str, int] | None":
        """What the next instance is to do with which descriptor: `read` or `write`; None without a file."""
        if self._whole is not None or self._seal():
            return "read", self._fd
        if self._attempts == _MOST_ATTEMPTS:
            return None
        self._attempts += 1
        if self._fd >= 0:
            os.close(self._fd)
        try:
            self._fd = memory_file.make("code-cache")
        except OSError:  # there is no room
            self._fd = -1
            return None
        return "write", self._fd

    def forget(self) -> None:
        """Keep nothing, and try it no more."""
        self._attempts = _MOST_ATTEMPTS
        self._whole = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _seal(self) -> bool:
        """Whether the last attempt is whole, and can change no more."""
        if self._fd < 0 or os.pread(self._fd, len(MARK), 0) != MARK:
            return False
        try:
            self._whole = memory_file.seal(self._fd, _MOST_BYTES)
        except (OSError, ValueError):  # the function has it mapped or spoilt, or there is no room
            return False
        return True
