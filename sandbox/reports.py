"""What a template reports of its dead instances: it has buried them, and the server is to do so, too."""

import asyncio
from collections import deque
from collections.abc import Callable

from sandbox import processes
from sandbox.control import Message
from sandbox.instance import Instance


class Reports:
    """The reports of one template. `breach` gets what is wrong with them."""

    def __init__(self, instances: dict[int, Instance], breach: Callable[[str], None]) -> None:
        """`instances`: those of the template, by number."""
        self.forking: dict[int, int | None] = {}
        """Forks under way, each with its exit code if `exited` arrived before `forked`."""
        self._instances = instances
        self._breach = breach
        self._waiting: deque[tuple[int, int]] = deque()
        """The number of each instance, and its exit code."""

    def take(self, message: Message) -> None:
        """A message that was not asked for."""
        if message.t != "exited" or not message.ended:
            return self._breach(f"it sent an unexpected message {message.t!r}")
        for n, code in message.ended:
            if n in self.forking:
                self.forking[n] = code
            else:
                self._waiting.append((n, code))
        self._bury_next()
        return None

    def finish(self) -> None:
        """The template is dead: bury all that it has reported."""
        while self._waiting:
            self._bury_next()

    def _bury_next(self) -> None:
        """Bury one, and the rest in later turns of the loop: a burial takes up to 0.5 ms."""
        if self._waiting and not self._ended(*self._waiting.popleft()):
            self._waiting.clear()
            self._breach("it reported the death of an instance that is alive or does not exist")
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._bury_next)

    def _ended(self, n: int, code: int) -> bool:
        """The template has buried this instance; returns whether that can be true."""
        instance = self._instances.get(n)
        if instance is None or not (instance.is_dead or processes.has_died(instance.pidfd)):
            return False
        instance.buried(code)
        return True
