"""The store over RabbitMQ: `bus.store.Store` for one virtual host of one broker.

Theory of operation. There are two connections, because a broker that blocks publishers must not keep us from consuming
and acknowledging. Each is reopened when it is lost. Queues that we make are durable, and quorum queues unless a
declaration says otherwise; existing ones are used as they are. Everything that a settlement stores is confirmed before
its delivery is acknowledged. So a crash at any moment leaves the message, or its copy, or both: delivery at least once.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from itertools import filterfalse, islice
from time import monotonic
from types import MappingProxyType

import anyio
from anyio.abc import TaskGroup
from msgspec.structs import replace

from bus.declaration import Declaration
from bus.message import Delivery, Outgoing
from bus.rabbitmq.address import address
from bus.rabbitmq.application import Application
from bus.rabbitmq.claim import Claim
from bus.rabbitmq.consumer import RabbitConsumer
from bus.rabbitmq.letters import Letter, dead_copy, retry_copy, trimmed, unrun_copy
from bus.rabbitmq.link import PATIENCE_S, Link
from bus.rabbitmq.links import Links
from bus.rabbitmq.looking import browse, fetch, remove
from bus.rabbitmq.names import Names
from bus.rabbitmq.old import OldQueues
from bus.rabbitmq.publisher import Parcel, Publisher, parcel, path_of
from bus.rabbitmq.rights import explained_rights, rehearse_publishing
from bus.rabbitmq.session import Lease
from bus.rabbitmq.topology import Topology
from bus.rabbitmq.undelivered import Undelivered
from bus.retry import Ack, Dead, Release, Retry
from bus.store import NOTHING, Consumer, QueueStatistics, RefusedError, Settlement, Source, Stored, StoreError

log = logging.getLogger(__name__)

CONFIRM_LIMIT_S = 10.0
NOBODY = Application()
UNDECLARED: Mapping[str, Declaration] = MappingProxyType({})
_FINISH_LIMIT_S = 2.0
"""How long a consumer may take at its end until the broker has processed its settlements."""


class RabbitStore:
    """Use `open_rabbitmq`."""

    def __init__(
        self,
        links: Links,
        publishing: Link,
        topology: Topology,
        publisher: Publisher,
        tasks: TaskGroup,
        *,
        adopts: bool,
    ) -> None:
        self._tasks = tasks
        self._links = links
        self._consuming = links.first
        self._publishing = publishing
        self._topology = topology
        self._names = topology.names
        self._publisher = publisher
        self._old = OldQueues(links.first, topology, publisher, adopts=adopts)
        self._latest: dict[tuple[str, str], RabbitConsumer] = {}
        """By queue and function. Includes consumers that have ended: their retries may still wait."""

    @property
    def is_connected(self) -> bool:
        """Whether it can store a message now."""
        return self._publishing.is_up and self._links.are_up and not self._publishing.is_blocked

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Store messages; the broker has confirmed all on return. After a StoreError, some of them may be stored."""
        _raise_first(await self._publisher.publish(list(map(self._parcel, messages))))

    @contextlib.asynccontextmanager
    async def consume(self, source: Source, prefetch: int) -> AsyncIterator[Consumer]:
        """Consume inside the block. Raises StoreError at the start if the queue is missing and may not be made."""
        async with self._links.place() as link:
            consumer = RabbitConsumer(link, self._topology, source, prefetch, self._put_aside)
            await consumer.prepare()
            async with self._running(consumer):
                yield consumer

    @contextlib.asynccontextmanager
    async def _running(self, consumer: RabbitConsumer) -> AsyncIterator[None]:
        source = consumer.source
        self._latest[source.queue, source.function] = consumer
        scope, ended = anyio.CancelScope(), anyio.Event()
        self._tasks.start_soon(_run, consumer, scope, ended)
        self._tasks.start_soon(self._old.attend, source)
        try:
            with anyio.move_on_after(PATIENCE_S):
                await consumer.wait_consuming()
            yield
        finally:
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(_FINISH_LIMIT_S):
                    await consumer.finish()
                scope.cancel()
                await ended.wait()

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Store all outputs, then carry out each decision.

        Raises RefusedError if an output is refused, before anything is settled; StoreError if anything could not be
        stored.
        """
        for lost in filterfalse(_is_leased, settlements):
            await lost.delivery.lease.session.settle(lost.delivery.lease)
        errors: list[StoreError] = []
        ready = await self._stored(list(filter(_is_leased, settlements)), errors)
        if len(ready) == 1:
            await self._settle(ready[0], errors)
        else:
            async with anyio.create_task_group() as tasks:
                for settlement in ready:
                    tasks.start_soon(self._settle, settlement, errors)
        _raise_first(errors)

    def settle_soon(self, settlement: Settlement, done: Callable[[StoreError | None], None]) -> bool:
        """Takes an acknowledgement without outputs. Anything else needs confirmations."""
        lease: Lease = settlement.delivery.lease
        if type(settlement.decision) is not Ack or settlement.outputs or not lease.session.acknowledge(lease):
            return False
        done(None)
        return True

    async def _stored(self, settlements: list[Settlement], errors: list[StoreError]) -> list[Settlement]:
        """Return the settlements whose outputs are stored; append the others' errors. Raises RefusedError."""
        parcels = [self._parcel(output) for settlement in settlements for output in settlement.outputs]
        if not parcels:
            return settlements
        results = iter(await self._publisher.publish(parcels))
        ready = []
        for settlement in settlements:
            failed = [error for error in islice(results, len(settlement.outputs)) if error]
            errors += failed
            if not failed:
                ready.append(settlement)
        _raise_first([error for error in errors if isinstance(error, RefusedError)])
        return ready

    async def _settle(self, settlement: Settlement, errors: list[StoreError]) -> None:
        lease = settlement.delivery.lease
        try:
            copy = self._copy(settlement, lease)
        except StoreError as error:
            errors.append(StoreError(str(error)))
            return
        failed = [error for error in await self._publisher.publish([copy]) if error] if copy else []
        if failed:
            errors.append(StoreError(str(failed[0])))  # never a RefusedError: only outputs may be given up, not copies
            return
        if isinstance(settlement.decision, Retry | Release) and copy:
            lease.session.lanes.retries.add(monotonic() + sum(1 << level for level in copy.path) / 1000)
        await lease.session.settle(lease, requeue=copy is None and isinstance(settlement.decision, Release))

    async def _put_aside(self, delivery: Delivery) -> None:
        """Store a message in the queue of retries, as the same attempt. Raises StoreError."""
        _raise_first(await self._publisher.publish([self._aside(delivery)]))
        delivery.lease.session.lanes.retries.add(monotonic())

    def _aside(self, delivery: Delivery) -> Parcel:
        lease: Lease = delivery.lease
        return Parcel(lease.session.queues.retry, self._fitting(unrun_copy(lease.properties, delivery)))

    def _copy(self, settlement: Settlement, lease: Lease) -> Parcel | None:
        """Return what must be stored before the delivery may be acknowledged: the retry or the dead letter."""
        delivery, decision, source = settlement.delivery, settlement.decision, lease.session.source
        if isinstance(decision, Retry):
            to, path = lease.session.queues.retry, path_of(decision.delay_s)
            return Parcel(to, self._fitting(retry_copy(lease.properties, delivery, decision, to if path else "")), path)
        if isinstance(decision, Dead):
            return Parcel(
                self._names.queue(source.dead_letter),
                self._fitting(dead_copy(lease.properties, delivery, decision, source.function)),
            )
        if isinstance(decision, Release) and lease.counts:
            return self._aside(delivery)
        return None

    def _parcel(self, outgoing: Outgoing) -> Parcel:
        """Make a parcel with the broker's name of the queue. Raises RefusedError."""
        return parcel(replace(outgoing, queue=self._names.queue(outgoing.queue)))

    def _fitting(self, copy: Letter) -> Letter:
        copy, dropped = trimmed(copy, self._publishing.frame_bytes)
        if dropped:
            log.warning("a copy of message %s lacks headers that do not fit: %s", copy.properties.message_id, dropped)
        return copy

    async def statistics(self, queue: str) -> QueueStatistics:
        """Return the messages ready on the broker, including retries, and those held here.

        Delayed messages and those held by other nodes are unknown.
        """
        mine = [consumer for (name, _), consumer in self._latest.items() if name == queue]
        asked = {self._names.queue(queue), *(consumer.queues.retry for consumer in mine if consumer.has_retries)}
        found = [await self._topology.look_up(name) for name in asked]
        return QueueStatistics(
            ready=sum(one.message_count or 0 for one in found if one), running=sum(one.running for one in mine)
        )

    def retry_queue(self, function: str, queue: str) -> str:
        """Return the broker's name of the queue in which messages of `queue` wait for the function's next attempt."""
        return self._names.retry(function, queue)

    async def browse(self, queue: str, limit: int, skip: int = 0) -> list[Stored]:
        """Return the oldest ready messages. For a moment, nobody else sees them. Raises StoreError."""
        name = self._names.queue(queue)
        return await browse(self._consuming, name, limit, skip, is_ours=self._names.is_ours(name))

    async def fetch(self, queue: str, key: str) -> Stored | None:
        """Return one of them with its body. Raises StoreError."""
        name = self._names.queue(queue)
        return await fetch(self._consuming, name, key, is_ours=self._names.is_ours(name))

    async def take_out(self, queue: str, keys: Collection[str] | None, into: Mapping[str, Outgoing] = NOTHING) -> int:
        """Remove messages after those of `into` are confirmed. A crash in between leaves both. Raises StoreError."""

        async def store(bodies: Mapping[str, bytes]) -> None:
            found = [(into[key], body) for key, body in bodies.items() if key in into]
            if found:
                await self.publish([replace(each, message=replace(each.message, body=body)) for each, body in found])

        name = self._names.queue(queue)
        return await remove(self._consuming, name, keys, store, is_ours=self._names.is_ours(name))


async def _run(consumer: RabbitConsumer, scope: anyio.CancelScope, ended: anyio.Event) -> None:
    try:
        with scope:
            await consumer.run()
    finally:
        ended.set()


def _is_leased(settlement: Settlement) -> bool:
    lease = settlement.delivery.lease
    assert isinstance(lease, Lease)
    return not lease.session.is_closed and lease.tag in lease.session.handed


def _raise_first(errors: Sequence[StoreError | None]) -> None:
    for error in errors:
        if error is not None:
            raise error


async def reach(url: str) -> None:
    """Connect once. Raises UnreachableError if nothing answers, StoreError if the broker denies access."""
    link = Link(address(url), "looks")
    await link.connect()
    await link.close()


@contextlib.asynccontextmanager
async def open_rabbitmq(
    url: str,
    application: Application = NOBODY,
    *,
    declarations: Mapping[str, Declaration] = UNDECLARED,
    confirm_limit_s: float = CONFIRM_LIMIT_S,
) -> AsyncIterator[RabbitStore]:
    """Open a store that stays connected during the block, and reconnects whenever the connection is lost.

    The names of our queues contain that of `application`. `declarations`: how to make queues that are not ours, by
    their names; a difference to those that exist is logged. `confirm_limit_s`: how long the broker may take to confirm
    a message. Raises StoreError if the store cannot connect at start, within about ten seconds, or the name is refused.
    """
    where = address(url)
    consuming, publishing = Link(where, "consumes"), Link(where, "publishes")
    topology = Topology(consuming, Names(application.name), declarations)
    claim = Claim(consuming, topology, application)
    async with contextlib.AsyncExitStack() as stack:
        for link in (consuming, publishing):
            await link.connect()
            stack.push_async_callback(link.close)
        with explained_rights(topology.names):
            await claim.take()
            await rehearse_publishing(publishing, topology.names)
        await topology.report_differences()
        async with anyio.create_task_group() as tasks:
            publisher = Publisher(publishing, topology, confirm_limit_s)
            undelivered = Undelivered(consuming, topology, publisher)
            for keep in (consuming.run, publishing.run, claim.keep, undelivered.run):
                tasks.start_soon(keep)
            try:
                links = Links(where, consuming, tasks)
                yield RabbitStore(links, publishing, topology, publisher, tasks, adopts=application.adopts)
            finally:
                tasks.cancel_scope.cancel()
