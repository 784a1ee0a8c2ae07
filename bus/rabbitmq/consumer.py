"""A consumer that goes on consuming: through lost connections, closed channels, deleted queues and cancelled consumers.

It consumes two queues through one channel: the source's own, and the one of ours in which messages wait for the
function's next attempt. RabbitMQ limits what it delivers unasked for each queue alone (quorum queues know no limit for
a channel): `prefetch` from the source, half as many from the retries but at least one, and of both together no more
than `prefetch` are handed out. So with a `prefetch` of 1 two may be here, of which one waits. What cannot be seen from
here is asked: every few seconds the broker says how many consumers each queue has, and if it knows of none while we
think we are one, the channel is given up for a new one.

Queues of ours, inboxes and those of retries, are made when they are first needed, by whichever node that is: one that
made a queue knows at once, the others look now and then.
"""

import contextlib
import logging
import time
from collections.abc import AsyncIterator

import anyio

from bus.keeping import keep_doing
from bus.message import Delivery
from bus.rabbitmq.link import Link
from bus.rabbitmq.session import Queues, Session
from bus.rabbitmq.topology import Topology
from bus.store import Source, StoreError

log = logging.getLogger(__name__)

WATCH_S = 3.0
_LOOK_S = 20.0
"""How often a queue of ours that was not there is looked for."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.05, 2.0


class RabbitConsumer:
    """Call `prepare` once, then `run` in a task."""

    def __init__(self, link: Link, topology: Topology, source: Source, prefetch: int) -> None:
        self.source = source
        self._link = link
        self._topology = topology
        self._prefetch = prefetch
        self._names = topology.names
        self._queues = Queues(source, self._names.queue(source.queue), self._names.retry(source.function, source.queue))
        self._absent: dict[str, float] = {}
        """Queues of ours that nobody has needed yet, and when they were looked for."""
        self._is_needed = True
        """Whether there is a queue to consume."""
        self._session: Session | None = None
        self._is_paused = False
        self._starting = anyio.Lock()
        self._changed = anyio.Event()
        self._delay_s = _FIRST_DELAY_S

    @property
    def is_consuming(self) -> bool:
        session = self._session
        if session is None or self._is_paused:
            return not self._is_paused and not self._is_needed and self._link.is_up
        return not session.is_closed and all(queue in self._absent for queue in session.missing)

    @property
    def running(self) -> int:
        """How many messages are here and not settled."""
        return len(self._session.taken) + len(self._session.handed) if self._session else 0

    async def next(self) -> Delivery:
        while (delivery := self.next_nowait()) is None:
            await self._changed.wait()
        return delivery

    def next_nowait(self) -> Delivery | None:
        return self._session.hand_out(self._prefetch) if self._session and not self._is_paused else None

    async def pause(self) -> None:
        self._is_paused = True
        async with self._starting:
            if self._session is not None and self._is_paused:
                await self._session.cancel()

    async def resume(self) -> None:
        self._is_paused = False
        if self._session is not None:
            await self._start(self._session)
        self._wake()

    async def finish(self) -> None:
        """Before `run` is cancelled: take nothing more, and let the broker carry out what was settled."""
        self._is_paused = True
        async with self._starting:
            if self._session is not None and not self._session.is_closed:
                await self._session.finish()

    async def prepare(self) -> None:
        """Raises StoreError if it could not consume now."""
        if not self._names.is_ours(self._queues.own):
            await self._topology.ensure_queue(self._queues.own, may_make=self.source.declare)

    async def wait_consuming(self) -> None:
        """Until messages would come if there were any."""
        while not self.is_consuming:
            await self._changed.wait()

    async def run(self) -> None:
        """Consume until cancelled."""
        self._topology.on_made.add(self._note_made)
        try:
            await keep_doing(f"the consumer of function {self.source.function}", self._consume)
        finally:
            self._topology.on_made.discard(self._note_made)

    async def _consume(self) -> None:
        """Through one channel, until it is closed."""
        await self._link.wait_up()
        try:
            await self._wait_needed()
            async with self._open_session() as session:
                await self._stay(session)
        except StoreError as error:
            await self._rest(error)

    def _note_made(self, queue: str) -> None:
        if self._absent.pop(queue, None) is not None:
            self._wake()

    async def _wait_needed(self) -> None:
        """An inbox that nobody has used has no queue and no channel."""
        queues = (self._queues.own, self._queues.retry)
        while True:
            self._is_needed = not self._names.is_ours(queues[0]) or any([await self._is_there(one) for one in queues])
            if self._is_needed:
                return
            self._wake()
            changed = self._changed
            with anyio.move_on_after(_LOOK_S):
                while all(queue in self._absent for queue in queues):
                    await changed.wait()
                    changed = self._changed

    async def _is_there(self, queue: str) -> bool:
        """Whether the queue can be consumed: one of ours once somebody has needed it. Raises StoreError."""
        if not self._names.is_ours(queue):
            await self._topology.ensure_queue(queue, may_make=self.source.declare)
            return True
        self._absent[queue] = time.monotonic()  # first: it may be made while we ask
        if await self._topology.look_up(queue) is None:
            return queue not in self._absent
        self._absent.pop(queue, None)
        return True

    def _is_due(self, session: Session) -> bool:
        """Whether it is time to consume a queue that is missing."""
        looked_before_s = time.monotonic() - _LOOK_S
        return any(self._absent.get(queue, float("-inf")) < looked_before_s for queue in session.missing)

    @contextlib.asynccontextmanager
    async def _open_session(self) -> AsyncIterator[Session]:
        async with self._link.channel() as channel:
            session = self._session = Session(self._link, channel, self._queues, self._prefetch, self._wake)
            try:
                yield session
            finally:
                self._session = None

    async def _stay(self, session: Session) -> None:
        """Until the channel is closed, or there is reason to close it."""
        while not session.is_closed:
            changed = self._changed
            if self._is_due(session) and not self._is_paused and (error := await self._start(session)):
                await self._rest(error)
                continue
            with anyio.move_on_after(WATCH_S) as watching:
                await changed.wait()
            if watching.cancelled_caught and not await self._is_known(session):
                log.warning("%s knows of no consumer of %r: consuming anew", self._link.place, self.source.queue)
                return

    async def _start(self, session: Session) -> StoreError | None:
        async with self._starting:
            for queue in session.missing:
                try:
                    is_there = await self._is_there(queue)
                    if self._is_paused:
                        return None
                    if is_there:
                        await session.consume(queue)
                except StoreError as error:
                    return error
        self._delay_s = _FIRST_DELAY_S
        self._wake()
        return None

    async def _is_known(self, session: Session) -> bool:
        """Whether the broker has a consumer for each queue that we think we consume."""
        for queue in tuple(session.consumed):
            try:
                found = await self._topology.look_up(queue)
            except StoreError:  # the link itself finds out whether the connection is alive
                return True
            if queue in session.consumed and (found is None or not found.consumer_count):
                return False
        return True

    async def _rest(self, error: StoreError) -> None:
        """Wait a while, longer each time in a row."""
        await anyio.sleep(self._delay_s)
        if self._delay_s < _LONGEST_DELAY_S <= self._delay_s * 2:
            log.warning("the consumer of function %s keeps trying: %s", self.source.function, error)
        self._delay_s = min(_LONGEST_DELAY_S, self._delay_s * 2)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
