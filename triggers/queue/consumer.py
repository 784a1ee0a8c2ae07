"""The queue trigger at work: each message becomes an event, goes over the bus, and its outcome settles the message.

Theory of operation. There are `slots` workers for the life of the consumer, so no message needs a task of its own. Each
worker takes a message, has the bus attempt it, and settles it in the store. (Batches are gathered by one worker at a
time, or several would each wait for half of one.) Only settling removes a message from its store: if the worker, the
process or the connection ends before that, the store delivers the message again.

An outcome that was not the message's fault (throttled, not loading, outputs not stored) releases the message. The
consumer pauses first (`pace.py`), so that the message waits in its store instead of coming back at once.

No exception leaves a consumer that has started. An exception while handling a message is a bug of ours: it is logged
with its traceback and counts as an attempt, so that the message eventually becomes a dead letter. After any other
exception the consumer is closed, which returns its messages, and starts again.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import anyio
import anyio.abc
from msgspec import Struct

from bus.bus import Bus
from bus.event import Event
from bus.invocation import Invocation, QueueVerdict
from bus.message import Delivery, Outgoing
from bus.outcome import ExceptionName, Failed, Ok, Outcome
from bus.outputs import unroutable
from bus.places import join_place
from bus.retry import Ack, Dead, Decision, Release, Retry, decide
from bus.store import Consumer, RefusedError, Source
from triggers.queue import celery
from triggers.queue.codec import bare_event, batch_event, fit, identified, to_event
from triggers.queue.errors import UnreadableError
from triggers.queue.pace import Pace
from triggers.queue.settings import QueueTrigger
from triggers.queue.settling import OneByOne, Tried, decide_batch, postpone, refuse, runs_alone, settlements

log = logging.getLogger(__name__)

_AGAIN_S = 1.0
"""The pause before a failed consumer starts again."""


class ConsumerStatistics(Struct, frozen=True, kw_only=True):
    """The number of messages that run now, and that were settled since the start, by decision."""

    running: int
    acked: int
    retried: int
    released: int
    dead: int
    consuming: bool
    """Whether messages would arrive if there were any."""


class _Item(NamedTuple):
    delivery: Delivery
    event: Event


class QueueConsumer:
    """Consumes one queue for one function. A function's inbox is a queue like any other."""

    def __init__(
        self,
        bus: Bus,
        trigger: QueueTrigger,
        *,
        now_s: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`now_s` is wall-clock time since the epoch; `draw` a random number in [0, 1)."""
        self._bus = bus
        self._trigger = trigger
        self._now_s = now_s
        self._draw = draw
        self._idle: set[anyio.CancelScope] = set()
        """The scopes of workers that wait for a message: a drain cancels these, and no running message."""
        self._gathering: anyio.Lock
        self._left_over: Delivery | None = None
        """A message that was too large for the last batch, and starts the next one."""
        self._settled: Counter[type[Decision]] = Counter()
        self._running = 0
        self._draining = False
        self._ended: anyio.Event | None = None
        self._consumer: Consumer
        self._pace: Pace
        self._workers: anyio.abc.TaskGroup

    def __repr__(self) -> str:
        trigger, counts = self._trigger, self.statistics()
        queue = join_place(trigger.queue, trigger.broker)
        state = "not started"
        if self._ended is not None:
            state = "ended" if self._ended.is_set() else "draining" if self._draining else "consuming"
            state = "paused" if state == "consuming" and not counts.consuming else state
        return f"<QueueConsumer of {queue} for {trigger.function}: {state}, {counts.running} messages running>"

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Consume until `drain`; cancelling returns unsettled messages. Raises StoreError at the start."""
        try:
            await self._consume(task_status)
            while not self._draining:
                await self._consume_again()
        finally:
            if self._ended is not None:
                self._ended.set()

    async def _consume_again(self) -> None:
        try:
            await anyio.sleep(_AGAIN_S)
            await self._consume(anyio.TASK_STATUS_IGNORED)
        except Exception:
            log.exception("queue %s: the consumer could not start; please report this", self._trigger.queue)

    async def _consume(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Consume until it is drained or fails after its start. Raises if it cannot start the first time."""
        trigger = self._trigger
        source = Source(
            queue=trigger.queue, function=trigger.function, dead_letter=trigger.dead_letter, declare=trigger.declare
        )
        try:
            async with self._bus.consume(trigger.broker, source, trigger.prefetch) as self._consumer:
                pool = self._bus.pool(trigger.function)
                self._pace = Pace(self._consumer, pool.capacity)
                if self._ended is None:
                    pool.on_capacity(self._note_capacity)
                    self._ended = anyio.Event()
                await self._serve(task_status)
        except Exception:
            if self._ended is None:
                raise
            log.exception(
                "queue %s: the consumer failed unexpectedly and starts again; please report this", trigger.queue
            )

    def _note_capacity(self) -> None:
        self._pace.on_capacity()

    async def drain(self, timeout_s: float) -> None:
        """Take no more messages, let running ones finish for up to `timeout_s`, and return the rest."""
        self._draining = True
        if self._ended is None:
            return
        with anyio.move_on_after(timeout_s):
            await self._pace.stop()
            for scope in self._idle:
                scope.cancel()
            await self._ended.wait()
        self._workers.cancel_scope.cancel()
        await self._ended.wait()

    def statistics(self) -> ConsumerStatistics:
        """Return its numbers now."""
        return ConsumerStatistics(
            running=self._running,
            acked=self._settled[Ack],
            retried=self._settled[Retry],
            released=self._settled[Release],
            dead=self._settled[Dead],
            consuming=self._ended is not None and not self._ended.is_set() and self._consumer.is_consuming,
        )

    async def _serve(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with anyio.create_task_group() as pacing:
            pacing.start_soon(self._pace.keep)
            self._gathering, self._left_over = anyio.Lock(), None
            async with anyio.create_task_group() as self._workers:
                for _ in range(self._trigger.slots):
                    self._workers.start_soon(self._work)
                task_status.started()
            pacing.cancel_scope.cancel()

    async def _work(self) -> None:
        with anyio.CancelScope() as scope:
            while not self._draining:
                self._idle.add(scope)
                deliveries = await self._take()
                self._idle.discard(scope)
                self._running += len(deliveries)
                try:
                    await self._handle(deliveries)
                except Exception as error:  # otherwise it would come back uncounted, for ever
                    await self._give_up(deliveries, error)
                finally:
                    self._running -= len(deliveries)
        self._idle.discard(scope)

    async def _give_up(self, deliveries: list[Delivery], error: Exception) -> None:
        """Fail messages that we could not handle. Settling a message twice has no effect."""
        trigger, code = self._trigger, ExceptionName(type(error).__name__)
        outcome = Failed(kind="error", code=code, message=str(error))
        log.exception("queue %s: handling a message failed unexpectedly; please report this", trigger.queue)
        for delivery in deliveries:
            known = identified(delivery)
            decision = decide(outcome, known.attempt, self._age_s(known), trigger.retry, self._draw())
            await self._conclude(bare_event(known, trigger), outcome, [known], [decision])

    async def _take(self) -> list[Delivery]:
        """Return the next message, or a batch that is full or whose window has ended."""
        size, window_s = self._trigger.batch, self._trigger.batch_window_s
        if size is None:
            return [await self._consumer.next()]
        async with self._gathering:
            found = [self._left_over or await self._consumer.next()]
            self._left_over = None
            room_bytes = self._trigger.max_batch_bytes - len(found[0].message.body)
            with anyio.move_on_after(window_s):
                while len(found) < size and room_bytes > 0:
                    delivery = self._consumer.next_nowait()
                    if delivery is None:
                        if window_s <= 0:
                            break
                        delivery = await self._consumer.next()
                    room_bytes -= len(delivery.message.body)
                    if room_bytes < 0:
                        self._left_over = delivery
                        break
                    found.append(delivery)
            return found

    async def _handle(self, deliveries: list[Delivery]) -> None:
        items = []
        for delivery in deliveries:
            item = await self._admit(identified(delivery))
            if item is not None:
                items.append(item)
        if self._trigger.batch is None:
            for item in items:
                await self._run(item)
            return
        alone = [item for item in items if runs_alone(item.delivery.attempt, self._trigger.retry)]
        together = [item for item in items if item not in alone]
        for item in alone:
            await self._run_batch([item])
        if together:
            for places in fit([item.event for item in together]):
                await self._run_batch(together[places.start : places.stop])

    async def _admit(self, delivery: Delivery) -> _Item | None:
        """Return the message with its event, or settle it and return None if it must not run, now or at all."""
        decision: Decision | None
        try:
            event = to_event(delivery, self._trigger)
            decision = postpone(celery.times(delivery, self._now_s()), self._now_s())
        except UnreadableError as error:
            event, decision = bare_event(delivery, self._trigger), Dead("Undecodable", str(error))
        decision = decision or refuse(event, self._age_s(delivery), self._trigger)
        if decision is None:
            return _Item(delivery, event)
        await self._conclude(event, None, [delivery], [decision])
        return None

    async def _run(self, item: _Item) -> None:
        outcome, outputs = await self._bus.attempt(item.event)
        try:
            await self._finish(item, outcome, outputs)
        except RefusedError as error:
            await self._finish(item, _refused(outcome, error))

    async def _finish(self, item: _Item, outcome: Outcome, outputs: tuple[Outgoing, ...] = ()) -> None:
        delivery = item.delivery
        decision = decide(outcome, delivery.attempt, self._age_s(delivery), self._trigger.retry, self._draw())
        await self._conclude(item.event, outcome, [delivery], [decision], outputs)

    async def _run_batch(self, items: list[_Item]) -> None:
        batch = batch_event([item.event for item in items], self._trigger)
        outcome, outputs = await self._bus.attempt(batch)
        try:
            await self._finish_batch(batch, items, outcome, outputs)
        except RefusedError as error:
            await self._finish_batch(batch, items, _refused(outcome, error))

    async def _finish_batch(
        self, batch: Event, items: list[_Item], outcome: Outcome, outputs: tuple[Outgoing, ...] = ()
    ) -> None:
        tried = [Tried(event.id, delivery.attempt, self._age_s(delivery), self._draw()) for delivery, event in items]
        decisions = decide_batch(outcome, tried, self._trigger.retry)
        if not isinstance(decisions, OneByOne):
            await self._conclude(batch, outcome, [item.delivery for item in items], decisions, outputs)
            return
        self._report(batch, outcome, ())
        for item in items:
            await self._run_batch([item])

    async def _conclude(
        self,
        event: Event,
        outcome: Outcome | None,
        deliveries: list[Delivery],
        decisions: Sequence[Decision],
        outputs: tuple[Outgoing, ...] = (),
    ) -> None:
        """Settle the messages of one event. Raises RefusedError if an output can never be stored."""
        pauses_s = [decision.pause_s for decision in decisions if isinstance(decision, Release)]
        if pauses_s:
            await self._pace.hold(max(pauses_s))  # before settling, or the released message would come back at once
        await self._bus.settle(self._trigger.broker, settlements(deliveries, decisions, outputs))
        self._settled.update(map(type, decisions))
        if log.isEnabledFor(logging.DEBUG):
            for delivery, decision in zip(deliveries, decisions, strict=True):
                log.debug("queue %s: message %s: %r", self._trigger.queue, delivery.message.id, decision)
        self._report(event, outcome, decisions)

    def _age_s(self, delivery: Delivery) -> float:
        """The time since the message was first stored; 0 if unknown, or if the clock was set back."""
        return max(0.0, self._now_s() - delivery.stored_at_s) if delivery.stored_at_s is not None else 0.0

    def _report(self, event: Event, outcome: Outcome | None, decisions: Sequence[Decision]) -> None:
        self._bus.report(Invocation(event, outcome, QueueVerdict(tuple(decisions))))


def _refused(outcome: Outcome, error: RefusedError) -> Outcome:
    """Turn the outcome into the failure of a refused output; only an `Ok` has outputs."""
    return unroutable(outcome, error) if isinstance(outcome, Ok) else outcome
