"""Async handlers that run several calls at once in one instance."""

import asyncio
import time

inside = {"calls": 0, "most": 0}


async def meets(event):
    """Waits until as many calls are inside as the event's data says; returns the most that were inside at once."""
    inside["calls"] += 1
    inside["most"] = max(inside["most"], inside["calls"])
    while inside["most"] < event["data"]:
        await asyncio.sleep(0.001)
    inside["calls"] -= 1
    return inside["most"]




async def late(event):
    """Outlives its deadline: `obeys`, or ignores its cancellation in one of two places."""
    await {"obeys": obeys, "here": ignores_here, "there": ignores_there}[event["data"]]()


async def obeys():
    await asyncio.sleep(1000)


async def ignores_here():
    await ignore()


async def ignores_there():
    await ignore()


async def ignore():
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            continue


async def blocks(event):
    """Waits, or blocks the event loop until the process is killed."""
    if event["data"] == "block":
        time.sleep(1000)
    await asyncio.sleep(1000)
