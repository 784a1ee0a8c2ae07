"""Batches: several messages become one event. They wait for one another, so each batch has a task.

One task gathers, or several would each wait for half a batch. At most `slots` batches run at a time.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import anyio

from bus.event import Event
from bus.message import Delivery, Outgoing
from bus.outcome import Outcome
from bus.store import RefusedError
from triggers.queue.codec import batch_event, fit, identified
from triggers.queue.settler import Conclusion, refused
from triggers.queue.settling import OneByOne, Tried, admit, age_s, decide_batch, runs_alone
from triggers.queue.work import Work


class _Item(NamedTuple):
    delivery: Delivery
    event: Event


class Batches(Work):
    """Messages that run in batches."""

    _left_over: Delivery | None = None
    """A message that was too large for the last batch, and starts the next one."""

    def begin(self) -> None:
        self._gathering = anyio.CancelScope()
        self._places = anyio.Semaphore(self._trigger.slots)
        self._tasks.start_soon(self._gather)

    def stop(self) -> None:
        super().stop()
        self._gathering.cancel()

    async def _gather(self) -> None:
        with self._gathering:
            while True:
                await self._places.acquire()
                deliveries = await self._take()
                self.running += len(deliveries)
                self._tasks.start_soon(self._work, deliveries, partial(self._handle, deliveries))

    def _ended(self, count: int) -> None:
        self._places.release()
        super()._ended(count)

    async def _take(self) -> list[Delivery]:
        """Return a batch that is full or whose window has ended."""
        size, window_s = self._trigger.batch or 1, self._trigger.batch_window_s
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

    async def _handle(self, deliveries: Sequence[Delivery]) -> None:
        items = []
        for delivery in map(identified, deliveries):
            event, decision = admit(delivery, self._trigger, self._settler.now_s())
            if decision is None:
                items.append(_Item(delivery, event))
            else:
                await self._settler.settle(Conclusion(event, None, (delivery,), (decision,)))
        alone = [item for item in items if runs_alone(item.delivery.attempt, self._trigger.retry)]
        together = [item for item in items if item not in alone]
        for item in alone:
            await self._run([item])
        if together:
            for places in fit([item.event for item in together]):
                await self._run(together[places.start : places.stop])

    async def _run(self, items: list[_Item]) -> None:
        batch = batch_event([item.event for item in items], self._trigger)
        outcome, outputs = await self._bus.attempt(batch)
        try:
            await self._finish(batch, items, outcome, outputs)
        except RefusedError as error:
            await self._finish(batch, items, refused(outcome, error))

    async def _finish(
        self, batch: Event, items: list[_Item], outcome: Outcome, outputs: tuple[Outgoing, ...] = ()
    ) -> None:
        now_s, draw = self._settler.now_s(), self._settler.draw
        tried = [Tried(event.id, delivery.attempt, age_s(delivery, now_s), draw()) for delivery, event in items]
        decisions = decide_batch(outcome, tried, self._trigger.retry)
        if not isinstance(decisions, OneByOne):
            deliveries = [item.delivery for item in items]
            await self._settler.settle(Conclusion(batch, outcome, deliveries, decisions, outputs))
            return
        self._settler.report(batch, outcome, ())
        for item in items:
            await self._run([item])
