"""A consumer that survives lost connections, closed channels, deleted queues and cancelled consumers.

It consumes two queues through one channel: the source's own, and our retry queue, in which messages wait for the
function's next attempt. `lanes` decides how many messages it takes from which. Some failures are invisible here, so the
consumer asks the broker every few seconds how many consumers each queue has. If there are none although there should
be, it opens a new channel.

Our own queues (inboxes and retry queues) are made when they are first needed, by any node. That node knows at once; the
others look for the queue from time to time. If somebody else's queue is gone, the consumer waits for it and never makes
it.

A message that did not run is not given back to a queue that counts returns: quorum queues do, and drop or dead-letter a
message that was returned too often. It is stored in the retry queue, as the same attempt, and acknowledged.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

import anyio
from msgspec.structs import replace

from bus.keeping import keep_doing
from bus.message import Delivery
from bus.rabbitmq.expected import Overruns, Retries
from bus.rabbitmq.lanes import Cancel, Lane, Lanes
from bus.rabbitmq.link import Link
from bus.rabbitmq.places import Places
from bus.rabbitmq.session import Lease, Queues, Session
from bus.rabbitmq.signals import Signals
from bus.rabbitmq.topology import Topology
from bus.store import Source, StoreError

log = logging.getLogger(__name__)

WATCH_S = 3.0
_LOOK_S = 20.0
"""How often to look for a queue of ours that did not exist."""
_HOLD_S = 30.0
"""How long a paused consumer holds a message, if the consumer must not be cancelled."""
_TURN_S = 0.05
"""How often to check for the end of a turn while retries come."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.05, 2.0


class RabbitConsumer:
    """Call `prepare` once, then run `run` in a task. `put_aside` stores a message in the retry queue."""

    def __init__(
        self,
        link: Link,
        topology: Topology,
        source: Source,
        prefetch: int,
        put_aside: Callable[[Delivery], Awaitable[None]],
    ) -> None:
        self.source = source
        self._retries = Retries()
        self._link = link
        self._topology = topology
        self._prefetch = prefetch
        self._places = Places(prefetch)
        self._put_aside = put_aside
        names = topology.names
        self.queues = Queues(source, names.queue(source.queue), names.retry(source.function, source.queue))
        self._looked_s: dict[Lane, float] = {}
        """When a lane's queue was last found missing. Lanes whose queue exists are not in it."""
        self._is_others = False
        """Whether the own queue existed before us."""
        self._keep_one = False
        self._session: Session | None = None
        self._lost: list[Session] = []
        """Sessions whose channel is closed but whose messages still run."""
        self._overruns = Overruns()
        self._is_paused = False
        self._starting = anyio.Lock()
        self._signals = Signals()
        self._delay_s = _FIRST_DELAY_S
        self._error: StoreError | None = None
        """The first error while connected, for `wait_consuming`."""

    def __repr__(self) -> str:
        state = "paused" if self._is_paused else "consuming" if self.is_consuming else "waiting"
        consumers = len(self._session.lanes.active(*Lane)) if self._session is not None else 0
        held = f"{self.running} of {self._prefetch} messages held through {consumers} consumers"
        return f"<RabbitConsumer of {self.queues.own}: {state}, {held}>"

    @property
    def is_consuming(self) -> bool:
        session = self._session
        if self._is_paused or not self._link.is_up:
            return False
        if session is None:
            return all(lane in self._looked_s for lane in (Lane.OWN, Lane.RETRY))  # no queue yet, as none is needed
        return not session.is_closed and bool(session.lanes.active(*Lane))

    @property
    def running(self) -> int:
        """How many messages are held here and not settled."""
        return len(self._session.taken) + len(self._session.handed) if self._session else 0

    @property
    def has_retries(self) -> bool:
        """Whether the retry queue may exist."""
        return Lane.RETRY not in self._looked_s

    async def next(self) -> Delivery:
        while (delivery := self.next_nowait()) is None:
            await self._signals.wait_something()
        return delivery

    def next_nowait(self) -> Delivery | None:
        if self._session is None or self._is_paused:
            return None
        delivery = self._session.hand_out(self._prefetch - self._elsewhere())
        if delivery is not None and delivery.redelivered:
            delivery = replace(delivery, attempt=self._overruns.attempt_of(delivery))
            self._session.handed[delivery.lease.tag] = delivery
        return delivery

    def on_message(self, callback: Callable[[], None]) -> None:
        self._signals.on_message = callback

    async def pause(self) -> None:
        self._is_paused = True
        async with self._starting:
            if self._session is not None and self._is_paused:
                await self._session.carry_out(self._session.lanes.to_pause())
                await self._give_back(self._session)

    async def resume(self) -> None:
        self._is_paused = False
        if self._session is not None:
            with contextlib.suppress(StoreError):  # `run` handles it
                await self._advance(self._session)
        self._signals.change()

    async def finish(self) -> None:
        """Take nothing more, and let the broker process all settlements. Call it before cancelling `run`."""
        self._is_paused = True
        async with self._starting:
            session = self._session
            if session is not None and not session.is_closed:
                await session.carry_out(Cancel(session.lanes.active(*Lane)))
                await self._give_back(session)
                await session.flush()

    async def prepare(self) -> None:
        """Make or inspect the queues. Raises StoreError if they cannot be consumed now."""
        own, names = self.queues.own, self._topology.names
        dead_letter = names.queue(self.source.dead_letter)
        if not names.is_ours(own):
            self._is_others = not await self._topology.ensure_queue(own, may_make=self.source.declare)
        if self._is_others or self._topology.declaration(own).type != "quorum":
            kind = await self._topology.kind(own)
            self._keep_one = kind.may_vanish
            self.queues = replace(self.queues, counts=kind.counts)
            if kind.is_stream:
                raise StoreError(_stream(self._link.place, own))
        if not names.is_ours(dead_letter):
            await self._topology.ensure_queue(dead_letter)

    async def wait_consuming(self) -> None:
        """Wait until any messages would arrive. Raises StoreError if the broker refuses."""
        while not self.is_consuming:
            if self._error is not None:
                raise self._error
            await self._signals.changed.wait()

    async def run(self) -> None:
        """Consume until cancelled."""
        self._topology.on_seen.add(self._note_seen)
        try:
            await keep_doing(f"the consumer of function {self.source.function}", self._consume)
        finally:
            self._topology.on_seen.discard(self._note_seen)

    async def _consume(self) -> None:
        """Consume through one channel until it is closed."""
        await self._link.wait_up()
        try:
            await self._wait_needed()
            async with self._open_session() as session:
                await self._stay(session)
        except StoreError as error:
            await self._rest(error)

    def _note_seen(self, queue: str) -> None:
        for lane in tuple(self._looked_s):
            if self.queues.of(lane) == queue:
                del self._looked_s[lane]
                self._signals.change()

    async def _wait_needed(self) -> None:
        """Wait until a queue exists: an unused inbox has no queue, so it needs no channel."""
        while True:
            there = await self._look_for(Lane.OWN), await self._look_for(Lane.RETRY)
            if any(there):
                return
            self._signals.change()
            with anyio.move_on_after(_LOOK_S):
                while len(self._looked_s) > 1:
                    await self._signals.changed.wait()

    async def _look_for(self, lane: Lane) -> bool:
        """Return whether the lane has a queue. Raises StoreError."""
        queue = self.queues.of(lane)
        if not self._topology.names.is_ours(queue):
            if not self._is_others:
                await self._topology.ensure_queue(queue, may_make=self.source.declare)
            elif await self._topology.look_up(queue) is None:
                raise StoreError(
                    f"{self._link.place}: the queue {queue!r} is gone; Forklight did not create it and waits for it"
                )
            return True
        self._looked_s[lane] = monotonic()  # set before asking: `_note_seen` removes it if the queue is made meanwhile
        if await self._topology.look_up(queue) is not None:
            self._looked_s.pop(lane, None)
        return lane not in self._looked_s

    @contextlib.asynccontextmanager
    async def _open_session(self) -> AsyncIterator[Session]:
        async with self._link.channel() as channel:
            lanes = Lanes(self._places, self._retries, keep_one=self._keep_one, now_s=monotonic())
            lanes.retries_wait = True
            session = self._session = Session(
                self._link,
                channel,
                self.queues,
                lanes,
                on_message=self._signals.message,
                on_free=self._signals.free,
                on_change=self._signals.change,
            )
            try:
                with self._link.deliveries(channel, session.take):
                    yield session
            finally:
                self._session = None
                self._note_lost(session)

    def _note_lost(self, session: Session) -> None:
        """Keep a session whose handlers still run. The broker may have closed it because one of them took too long."""
        self._lost = [one for one in (*self._lost, session) if one.handed]
        limit_s = session.consumer_timeout_s
        if limit_s is None:
            if session.is_closed and self._link.is_up and session.why_closed:
                log.warning("%s closed the channel of %r: %s", self._link.place, self.queues.own, session.why_closed)
            return
        over = [one for one in session.handed.values() if monotonic() - one.lease.since_s >= limit_s]
        for delivery in over:
            self._overruns.note(delivery)
        log.warning(
            "%s took back messages of %r from function %s, which had not finished %d of them after %g s: lower its "
            "timeout, or raise the broker's consumer_timeout. Each counts as an attempt. The broker says: %s",
            *(self._link.place, self.queues.own, self.source.function, len(over), limit_s, session.why_closed),
        )

    def _elsewhere(self) -> int:
        return sum(len(session.handed) for session in self._lost) if self._lost else 0

    async def _stay(self, session: Session) -> None:
        """Return when the channel is closed or should be."""
        watch_s = monotonic() + WATCH_S
        while not session.is_closed:
            changed = self._signals.changed
            if session.is_stream:
                raise StoreError(_stream(self._link.place, self.queues.own))
            try:
                await (self._keep_paused(session) if self._is_paused else self._advance(session))
            except StoreError as error:
                await self._rest(error)
                continue
            now_s = monotonic()
            if now_s >= watch_s:
                watch_s = now_s + WATCH_S
                if not await self._is_known(session):
                    log.warning("%s has lost the consumer of %r: starting again", self._link.place, self.queues.own)
                    return
            with anyio.move_on_after(self._nap_s(session, watch_s - now_s)):
                await changed.wait()

    def _nap_s(self, session: Session, most_s: float) -> float:
        """Return how long to wait, unless woken, until something is due."""
        lanes = session.lanes
        if lanes.retries_wait or (lanes.turn is Lane.RETRY and Lane.OWN not in self._looked_s):
            return min(most_s, _TURN_S)
        return self._retries.next_s(monotonic(), most_s)

    async def _advance(self, session: Session) -> None:
        """Begin and end consumers as `lanes` decides. Raises StoreError."""
        async with self._starting:
            await self._look_again(session)
            there = frozenset(lane for lane in Lane if self._place(lane) not in self._looked_s)
            while not self._is_paused and (step := session.lanes.step(monotonic(), there, self._elsewhere())):
                await session.carry_out(step)
                self._delay_s = _FIRST_DELAY_S
                self._signals.change()

    async def _look_again(self, session: Session) -> None:
        """Look for queues that were deleted, and for queues of ours that other nodes may have made."""
        late_s = monotonic() - _LOOK_S
        gone = {self._place(lane) for lane in session.gone}
        session.gone.clear()
        for lane in gone | {lane for lane, looked_s in self._looked_s.items() if looked_s < late_s}:
            try:
                if await self._look_for(lane) and lane is Lane.RETRY:
                    session.lanes.retries_wait = True
            except StoreError:
                session.gone.add(lane)
                raise

    def _place(self, lane: Lane) -> Lane:
        return Lane.OWN if lane is Lane.BASE else lane

    async def _keep_paused(self, session: Session) -> None:
        """Give back messages that arrive anyway; with `_keep_one` only after a while, or they would return at once."""
        async with self._starting:
            oldest_s = session.taken[0].lease.since_s if session.taken else 0.0
            if self._is_paused and session.taken and (not self._keep_one or monotonic() - oldest_s >= _HOLD_S):
                await self._give_back(session)

    async def _give_back(self, session: Session) -> None:
        """Give back messages that were not handed out. Those that cannot be stored elsewhere stay here."""
        for _ in range(len(session.taken)):
            delivery = session.taken.popleft()
            lease: Lease = delivery.lease
            if not (lease.counts or self._keep_one):
                await session.let_go(lease, requeue=True)
                continue
            try:
                await self._put_aside(delivery)
            except BaseException as error:
                session.taken.appendleft(delivery)
                if isinstance(error, StoreError):
                    return
                raise
            await session.let_go(lease)

    async def _is_known(self, session: Session) -> bool:
        """Return whether the broker has a consumer for each queue we consume. Also notes whether retries wait."""
        asked = {self.queues.of(lane): lane for lane in (Lane.OWN, Lane.RETRY) if lane not in self._looked_s}
        for queue, lane in asked.items():
            try:
                found = await self._topology.look_up(queue)
            except StoreError:  # the link checks by itself whether the connection is alive
                return True
            lanes = (Lane.RETRY,) if lane is Lane.RETRY else (Lane.BASE, Lane.OWN)
            if session.lanes.active(*lanes) and (found is None or not found.consumer_count):
                return False
            if lane is Lane.RETRY and found is not None and found.message_count:
                session.lanes.retries_wait = True
        return True

    async def _rest(self, error: StoreError) -> None:
        """Wait after an error, longer each time in a row."""
        if self._link.is_up:
            self._error = self._error or error
            self._signals.change()
        await anyio.sleep(self._delay_s)
        if self._delay_s < _LONGEST_DELAY_S <= self._delay_s * 2:
            log.warning("the consumer of function %s keeps trying: %s", self.source.function, error)
        self._delay_s = min(_LONGEST_DELAY_S, self._delay_s * 2)


def _stream(place: str, queue: str) -> str:
    return f"{place}: {queue!r} is a stream, whose messages cannot be acknowledged: consume a queue instead"
