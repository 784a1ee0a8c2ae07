"""Tasks that live as long as the server: an exception ends one step, never the task."""

import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

import anyio

log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""The pause after a failed step, so that one that always fails costs little."""


async def keep_doing(what: str, step: Callable[[], Awaitable[object]]) -> NoReturn:
    """Repeat the step for ever. An exception is a bug of ours: it is logged with its traceback, and nothing ends."""
    has_failed = False
    while True:
        try:
            if has_failed:
                has_failed = False
                await anyio.sleep(PAUSE_S)
            await step()
        except Exception:
            has_failed = True
            log.exception("%s failed unexpectedly and goes on; please report this", what)
