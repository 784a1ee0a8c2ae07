"""Keeps `keep` MiB and uses `use` MiB until the file `wait` is there; answers with its pid."""

import asyncio
import os

kept = []


async def handler(event):
    data = event["data"] or {}
    kept.append(b"x" * (data.get("keep", 0) * 1024 * 1024))
    used = b"x" * (data.get("use", 0) * 1024 * 1024)
    while "wait" in data and not os.path.exists(data["wait"]):
        await asyncio.sleep(0.01)
    del used
    return os.getpid()
