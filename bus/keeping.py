"""Tasks that live as long as the server: whatever one step of theirs raises, the next one is taken."""

import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

import anyio

log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""After a step that failed, so that one that always fails costs little."""


async def keep_doing(what: str, step: Callable[[], Awaitable[object]]) -> NoReturn:
    """Take the step for ever. An exception is a mistake of ours: it is told in full, and ends nothing."""
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
