"""Runs a coroutine that a handler returned although it is not an async function. Imports asyncio, so it comes late."""

import asyncio
import atexit
from collections.abc import Coroutine
from functools import cache
from typing import Any


def finish(coroutine: "Coroutine[Any, Any, Any]") -> Any:
    """What the coroutine returns."""
    return _loop().run_until_complete(coroutine)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all calls of a process, so that what a handler has bound to it can be used again."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop
