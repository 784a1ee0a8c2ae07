"""An application's name on a broker, held by every node of it that runs, refused to any other application.

RabbitMQ has no locks, but it compares. The name is held by a queue that lasts for as long as somebody consumes it, and
one of its arguments says where the application's configuration lies: whoever declares the queue with another argument
is refused. That path stays the same through deployments, as a hash of the configuration would not. A node that serves
the same code from another path is of the same application too: each also holds a queue that is named after its code.
What is merely left over, from a broker's restart, is consumed by nobody, and goes.
"""

import contextlib
import logging

import anyio
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from msgspec import Struct
from pamqp.common import Arguments

from bus.keeping import keep_doing
from bus.rabbitmq.link import ANSWER_LIMIT_S, Channel, Link, store_errors
from bus.rabbitmq.names import Names, bounded
from bus.rabbitmq.topology import Topology
from bus.store import RefusedError, StoreError

log = logging.getLogger(__name__)

_TRIES = 5
"""Others may come and go while we ask."""
_AGAIN_S = 2.0
"""Until the name is asked for again that another application took while we were not connected."""


class Application(Struct, frozen=True):
    """Who uses the broker: a name, and by what its nodes are known to belong together."""

    name: str = "app"
    path: str = ""
    """Of its configuration, absolute."""
    code: str = ""
    """A digest of its code."""
    adopts: bool = False
    """Whether queues of version 0.1 that have its functions' names are its own."""


class Claim:
    """Call `take` once, then `keep` in a task."""

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
        """Hold it through lost connections, until cancelled."""
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
        """False if it must be tried again."""
        claim = self._names.claim
        with store_errors(
            f"{self._link.place} does not let us hold the application's name {self._names.application!r}"
        ):
            channel = await self._link.open_channel()
            try:
                # the exchange is only a mark: nothing is ever in the queue
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
        """Whether who holds the name runs our code. False if nobody does any more. Raises RefusedError."""
        held = await self._topology.look_up(self._names.claim)
        if held is None:
            return False
        if not held.consumer_count:
            with contextlib.suppress(ChannelPreconditionFailed):  # somebody has begun to consume it
                async with self._link.channel() as channel:
                    await channel.queue_delete(self._names.claim, if_unused=True, timeout=ANSWER_LIMIT_S)
            return False
        same = await self._topology.look_up(self._code_queue())
        if same is not None and same.consumer_count:
            return True
        raise RefusedError(
            f"{self._link.place}: another application named {self._names.application!r} runs there, and functions of "
            f'the same name would run each other\'s calls: give this one a name of its own, [bus] name = "...". '
            f"(A node of the same application serves its configuration from the same path, or the same code.) "
            f"The broker says: {refusal}"
        )

    def _code_queue(self) -> str:
        return f"{self._names.claim}.{self._application.code}"


async def _ignore(_: object) -> None:
    """Nothing is sent to these queues."""
