"""The embedded store as a load: filled before the server starts, then sent to over the control socket."""

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.queue_peers import PADDING, QUEUE, Consumer
from bus.message import Message, Outgoing
from bus.sqlite import open_sqlite
from forklight.control_socket import socket_path
from forklight.stores import FILE

_GROUP = 500


async def fill(consumer: Consumer, state: Path, count: int) -> None:
    """Publish into the store file that the server will open."""
    state.mkdir(exist_ok=True)
    async with open_sqlite(state / FILE) as store:
        for begin in range(0, count, _GROUP):
            bodies = [consumer.message({"n": n, "padding": PADDING}).body for n in range(begin, begin + _GROUP)]
            messages = [Message(id=str(begin + at), body=body, content_type="application/json") for at, body in enumerate(bodies)]
            await store.publish([Outgoing(queue=QUEUE, message=message) for message in messages])
