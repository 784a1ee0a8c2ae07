"""The least that answers over ASGI: no framework, no routes but the one comparison."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """GET: a small JSON object, at once or after a wait; POST: the length of the body."""
    if scope["type"] != "http":
        return
    answer: object = {"hello": "world"}
    if scope["method"] == "POST":
        answer = {"length": len(await _body(receive))}
    elif scope["path"] == "/sleep":
        await asyncio.sleep(0.1)
    elif scope["path"] == "/hold":
        answer = {"began_ns": time.monotonic_ns()}
        await asyncio.sleep(5)
    content = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _body(receive: Receive) -> bytes:
    chunks = []
    more = True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)
