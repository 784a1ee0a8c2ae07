"""Requests for instances of one template. Those that are made in the same turn of the event loop share messages.

The first of a turn leaves at once, because an event usually waits for it, and it is usually the only one.
"""

import asyncio
from collections.abc import Sequence

from sandbox.control import Control
from sandbox.errors import Ended
from sandbox.guest._forklight.wire import MAX_FORKS

_Request = dict[str, object]


class Forks:
    """Sends `fork{each}` with the descriptors of each request, in order."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._gathered: list[tuple[_Request, Sequence[int]]] = []
        self._turn: asyncio.Handle | None = None

    def post(self, request: _Request, fds: Sequence[int]) -> None:
        """Send the request, now or at the end of this turn. Raises as `Control.post`; later, the request raises it."""
        if self._turn is not None:
            self._gathered.append((request, fds))
            return
        self._control.post({"t": "fork", "each": [request]}, fds)
        self._turn = asyncio.get_running_loop().call_soon(self._send_gathered)

    def _send_gathered(self) -> None:
        gathered, self._gathered, self._turn = self._gathered, [], None
        wanted = [each for each in gathered if self._control.is_awaited(each[0]["n"])]
        for at in range(0, len(wanted), MAX_FORKS):
            self._send(wanted[at : at + MAX_FORKS])

    def _send(self, each: list[tuple[_Request, Sequence[int]]]) -> None:
        requests = [request for request, _ in each]
        try:
            self._control.post({"t": "fork", "each": requests}, [fd for _, fds in each for fd in fds])
        except (Ended, OSError) as error:
            for request in requests:
                self._control.fail(request["n"], error)
