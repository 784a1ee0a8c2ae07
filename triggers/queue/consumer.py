"""The queue trigger at work: each message becomes an event, goes over the bus, and its outcome settles the message.

Theory of operation. A message takes the same road as a request: two synchronous runs, without a task or a future of its
own (`work.py`). The callback that brings it makes its event and begins it on the bus; the callback that brings its
outcome decides, hands the settlement to the store, and begins the next message. What has to be waited for gets a task
and uses the same decisions: a store that fails, a decision that needs more than one step of a store, a pause, and
batches (`batches.py`), which gather for a while. The store hands out no more than `prefetch` messages at a time, so
neither messages nor tasks pile up here. Only settling removes a message from its store: if the process or the
connection ends before that, the store delivers the message again.

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
from collections.abc import Callable

import anyio
import anyio.abc
from msgspec import Struct

from bus.bus import Bus
from bus.places import join_place
from bus.retry import Ack, Dead, Decision, Release, Retry
from bus.store import Consumer, Source
from triggers.queue.batches import Batches
from triggers.queue.pace import Pace
from triggers.queue.settings import QueueTrigger
from triggers.queue.settler import Settler
from triggers.queue.work import Messages, Work

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
        self._settled: Counter[type[Decision]] = Counter()
        self._settler = Settler(bus, trigger, self._settled, now_s, draw)
        self._draining = False
        self._ended: anyio.Event | None = None
        self._consumer: Consumer
        self._pace: Pace
        self._work: Work | None = None
        self._tasks: anyio.abc.TaskGroup

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
                self._pace = self._settler.pace = Pace(self._consumer, pool.capacity)
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
            if self._work is not None:
                self._work.stop()
            await self._ended.wait()
        self._tasks.cancel_scope.cancel()
        await self._ended.wait()

    def statistics(self) -> ConsumerStatistics:
        """Return its numbers now."""
        return ConsumerStatistics(
            running=self._work.running if self._work is not None else 0,
            acked=self._settled[Ack],
            retried=self._settled[Retry],
            released=self._settled[Release],
            dead=self._settled[Dead],
            consuming=self._ended is not None and not self._ended.is_set() and self._consumer.is_consuming,
        )

    async def _serve(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        kind = Messages if self._trigger.batch is None else Batches
        async with anyio.create_task_group() as pacing:
            pacing.start_soon(self._pace.keep)
            async with anyio.create_task_group() as self._tasks:
                self._work = work = kind(self._bus, self._trigger, self._consumer, self._settler, self._tasks)
                try:
                    work.begin()
                    task_status.started()
                    if self._draining:
                        work.stop()
                    await work.wait_finished()
                finally:
                    work.abandon()
            pacing.cancel_scope.cancel()
