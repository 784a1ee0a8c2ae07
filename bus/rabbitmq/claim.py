"""An application's name on a broker: every running node of the application holds it, and no other application may.

RabbitMQ has no locks, but it compares the arguments of queues. A queue that exists while it has consumers stands for
the name. One of its arguments is the path of the application's configuration, so the broker refuses a declaration from
another path. The path stays the same across deployments; a hash of the configuration would not. A node that serves the
same code from another path belongs to the same application too, so each node also holds a queue named after its code.
A queue left over from a broker's restart has no consumers, and is deleted.
"""

import contextlib
import logging

import anyio
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from pamqp.common import Arguments

from bus.keeping import keep_doing
from bus.rabbitmq.application import Application
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.rabbitmq.names import Names, bounded
from bus.rabbitmq.topology import Topology
from bus.store import RefusedError, StoreError

log = logging.getLogger(__name__)

_TRIES = 5
"""Other nodes may start and stop in the meantime."""
_AGAIN_S = 2.0
"""Pause between attempts, if another application took the name while this node was not connected."""


class Claim:
    """Holds the name. Call `take` once, then run `keep` in a task."""

    def __init__(self, link: Link, topology: Topology, application: Application) -> None:
        self._link = link
        self._topology = topology
        self._application = application
        self._names: Names = topology.names
        self._channel: Channel | None = None

    async def take(self) -> None:
        """Hold the name. Raises RefusedError if another application does, StoreError if the broker does not answer."""
        for _ in range(_TRIES):
            if await self._take():
                return
        raise StoreError(f"{self._link.place}: the queue {self._names.claim!r} comes and goes")

    async def keep(self) -> None:
        """Hold the name through lost connections, until cancelled."""
        await keep_doing(f"holding the application's name {self._names.application!r}", self._take_again)

    async def _take_again(self) -> None:
        await self._until_lost()
        await self._link.wait_up()
        try:
            await self.take()
        except StoreError as error:
            log.warning("%s", error)
            await anyio.sleep(_AGAIN_S)

    async def _until_lost(self) -> None:
        if self._channel is not None and self._link.has(self._channel):
            lost = anyio.Event()
            self._channel.closing.add_done_callback(lambda _: lost.set())
            await lost.wait()
        self._channel = None

    async def _take(self) -> bool:
        """Try to hold the name; return False to try again."""
        claim = self._names.claim
        with store_errors(f"{self._link.place}: cannot hold the application's name {self._names.application!r}"):
            channel = await self._link.open_channel()
            try:
                # the exchange only carries the path: the queue never has a message
                mark: Arguments = {"x-dead-letter-exchange": bounded(f"{claim}:{self._application.path}")}
                await channel.queue_declare(
                    claim, durable=True, auto_delete=True, arguments=mark, timeout=ANSWER_LIMIT_S
                )
            except ChannelPreconditionFailed as error:
                if not await self._may_share(str(error)):
                    return False
                channel = await self._link.open_channel()
            return await self._hold(channel)

    async def _hold(self, channel: Channel) -> bool:
        code = self._code_queue()
        try:
            await channel.queue_declare(code, durable=True, auto_delete=True, timeout=ANSWER_LIMIT_S)
            for queue in (self._names.claim, code):
                await channel.basic_consume(queue, _ignore, no_ack=True, timeout=ANSWER_LIMIT_S)
        except ChannelNotFoundEntity:
            return False
        self._channel = channel
        return True

    async def _may_share(self, refusal: str) -> bool:
        """Return whether the holder runs our code; False if nobody holds the name any more.

        Raises RefusedError if the holder is another application.
        """
        held = await self._topology.look_up(self._names.claim)
        if held is None:
            return False
        if not held.consumer_count:
            with contextlib.suppress(ChannelPreconditionFailed):  # somebody has just begun to consume it
                async with self._link.channel() as channel:
                    await channel.queue_delete(self._names.claim, if_unused=True, timeout=ANSWER_LIMIT_S)
            return False
        same = await self._topology.look_up(self._code_queue())
        if same is not None and same.consumer_count:
            return True
        raise RefusedError(
            f"{self._link.place}: another application named {self._names.application!r} runs there, and functions with "
            f'the same name would run each other\'s calls: give this one its own name with [bus] name = "...". '
            f"(Nodes of one application serve their configuration from the same path, or the same code.) "
            f"The broker says: {refusal}"
        )

    def _code_queue(self) -> str:
        return f"{self._names.claim}.{self._application.code}"


async def _ignore(_: object) -> None:
    """Never called: nothing is sent to these queues."""
