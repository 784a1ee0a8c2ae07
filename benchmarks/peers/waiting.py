"""Handlers for Forklight that only wait."""

import asyncio
import time
from typing import Any


async def sleep(_event: dict[str, Any]) -> dict[str, str]:
    await asyncio.sleep(0.1)
    return {"hello": "world"}


async def hold(_event: dict[str, Any]) -> dict[str, int]:
    began_ns = time.monotonic_ns()  # the same clock for all processes of a machine
    await asyncio.sleep(5)
    return {"began_ns": began_ns}
