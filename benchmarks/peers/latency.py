"""What every handler does with a message: nothing, or if it says when it was sent, one line with how long ago."""

import os
import time
from typing import Any

_FILE = os.environ.get("LATENCY_FILE")
_DESCRIPTOR = os.open(_FILE, os.O_WRONLY | os.O_APPEND) if _FILE else -1


def note(message: dict[str, Any]) -> None:
    """`at_ns` is CLOCK_MONOTONIC, the same for all processes of a machine."""
    if "at_ns" in message:
        os.write(_DESCRIPTOR, b"%d\n" % ((time.monotonic_ns() - message["at_ns"]) // 1000))
