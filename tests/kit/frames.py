"""What the tests of the sandbox share."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator


def open_fds() -> set[int]:
    """The descriptors of this process."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself is closed by now
            os.fstat(int(name))
            found.add(int(name))
    return found


@contextlib.contextmanager
def child(program: str = "input()") -> Iterator[subprocess.Popen[bytes]]:
    """A real child that lives until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.communicate(b"\n", timeout=50)
