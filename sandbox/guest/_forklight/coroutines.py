"""Runs the coroutine that a sync handler returned. Imports asyncio, so it is imported only when needed."""

import asyncio
import atexit
from collections.abc import Coroutine
from functools import cache
from typing import Any


def finish(coroutine: "Coroutine[Any, Any, Any]") -> Any:
    """Run the coroutine to its end; returns its result."""
    return _loop().run_until_complete(coroutine)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One event loop for all calls of a process, so that objects bound to it stay usable."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop
