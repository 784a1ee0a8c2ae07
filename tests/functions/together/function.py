"""Async handlers that run several calls at once in one instance."""

import asyncio

inside = {"calls": 0, "most": 0}


async def meets(event):
    """Waits until as many calls are inside as the event's data says; returns the most that were inside at once."""
    inside["calls"] += 1
    inside["most"] = max(inside["most"], inside["calls"])
    while inside["most"] < event["data"]:
        await asyncio.sleep(0.001)
    inside["calls"] -= 1
    return inside["most"]


