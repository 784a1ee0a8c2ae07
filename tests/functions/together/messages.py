"""Async handlers of messages, several in one instance. Module state is of one instance, and all its calls share it."""

import asyncio
import os
import time

inside = 0
all_here, cancelled = asyncio.Event(), asyncio.Event()


async def meets(event):
    """Waits until as many calls are inside at once as the data, or that of the first message of a batch, says."""
    global inside
    data = event["data"]
    inside += 1
    if inside == (data[0]["data"] if isinstance(data, list) else data):
        all_here.set()
    await all_here.wait()


async def acts(event):
    """`{"wait": path}`, `{"block": path}`: goes on, or blocks the event loop, once the file exists; or hangs."""
    match event["data"]:
        case {"wait": path}:
            await _made(path)
        case {"block": path}:
            await _made(path)
            time.sleep(1000)
        case "hang":
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        case "until cancelled":
            await cancelled.wait()


async def _made(path):
    while not os.path.exists(path):
        await asyncio.sleep(0.005)
