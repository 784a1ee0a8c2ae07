"""The messages that one consumer holds, from the store's hand to their settlement.

```
next_nowait                    a store    a message is here: its callback, or the end of the message before it
└ Messages._begin              to_event; what must not run is settled at once
  └ Bus.begin(event, done)     as for a request

done = Run.done                the outcome
└ Messages._done               decide
  ├ Bus.settle_soon            the store has the settlement; it calls `_settled` once that is carried out
  └ _take                      the next message
```
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio
import anyio.abc

from bus.bus import Begun, Bus
from bus.event import Event
from bus.message import Delivery
from bus.outcome import Outcome
from bus.store import Consumer, RefusedError, StoreError
from triggers.queue.codec import identified
from triggers.queue.settings import QueueTrigger
from triggers.queue.settler import Conclusion, Settler
from triggers.queue.settling import admit


class Work(ABC):
    """Call `begin`, await `wait_finished`, then call `abandon`. `running` counts messages handed out and unsettled."""

    def __init__(
        self,
        bus: Bus,
        trigger: QueueTrigger,
        consumer: Consumer,
        settler: Settler,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        self._bus = bus
        self._trigger = trigger
        self._consumer = consumer
        self._settler = settler
        self._tasks = tasks
        self.running = 0
        self._is_stopping = self._is_over = False
        self._finished = anyio.Event()
        self._failure: Exception | None = None

    @abstractmethod
    def begin(self) -> None:
        """Take messages from now on."""

    def stop(self) -> None:
        """Take no more messages."""
        self._is_stopping = True
        self._look_finished()

    async def wait_finished(self) -> None:
        """Wait until it was stopped and nothing runs. Raises what made the consumer fail."""
        await self._finished.wait()
        if self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        """Leave unsettled what still runs: the store delivers it again."""
        self._is_over = self._is_stopping = True

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._finished.set()

    def _ended(self, count: int) -> None:
        self.running -= count
        self._look_finished()

    def _look_finished(self) -> None:
        if self._is_stopping and not self.running:
            self._finished.set()

    async def _work(self, deliveries: Sequence[Delivery], handle: Callable[[], Awaitable[None]]) -> None:
        try:
            await handle()
        except Exception as error:  # otherwise it would come back uncounted, for ever
            await self._settler.give_up(deliveries, error)
        finally:
            self._ended(len(deliveries))


class Run:
    """One message at work."""

    __slots__ = ("_done", "begun", "delivery", "event")

    def __init__(self, delivery: Delivery, event: Event, done: "Callable[[Run, Outcome], None]") -> None:
        self.delivery = delivery
        self.event = event
        self.begun: Begun | None = None
        self._done = done

    def done(self, outcome: Outcome) -> None:
        """Called by the bus, once."""
        self._done(self, outcome)


class Messages(Work):
    """Messages that run one by one."""

    _runs: set[Run]

    def begin(self) -> None:
        self._runs = set()
        self._consumer.on_message(self._take)
        self._take()

    def abandon(self) -> None:
        super().abandon()
        for run in self._runs:
            if run.begun is not None:
                run.begun.drop()
        self._runs.clear()

    def _ended(self, count: int) -> None:
        super()._ended(count)
        self._take()

    def _take(self) -> None:
        """Begin every message that the store hands out."""
        try:
            while not self._is_stopping and (delivery := self._consumer.next_nowait()) is not None:
                self._begin(delivery)
        except Exception as error:
            self._fail(error)

    def _begin(self, delivery: Delivery) -> None:
        self.running += 1
        try:
            delivery = identified(delivery)
            event, decision = admit(delivery, self._trigger, self._settler.now_s())
            if decision is None:
                run = Run(delivery, event, self._done)
                self._runs.add(run)
                run.begun = self._bus.begin(event, run.done)
            else:
                self._conclude(Conclusion(event, None, (delivery,), (decision,)))
        except Exception as error:
            self._give_up(delivery, error)

    def _done(self, run: Run, outcome: Outcome) -> None:
        self._runs.discard(run)
        try:
            outcome, outputs = self._bus.routed(outcome, run.event)
            self._conclude(self._settler.decided(run.event, run.delivery, outcome, outputs))
        except Exception as error:
            self._give_up(run.delivery, error)
        self._take()

    def _conclude(self, conclusion: Conclusion) -> None:
        """Settle in this synchronous run, or in a task if the store has to be waited for."""
        try:
            if self._settler.settle_soon(conclusion, partial(self._settled, conclusion)):
                return
        except RefusedError:  # the task meets it again, and decides anew
            pass
        self._wait(conclusion)

    def _settled(self, conclusion: Conclusion, error: StoreError | None) -> None:
        if error is None:
            self._settler.note(conclusion)
            self._ended(1)
        elif self._is_over:
            self.running -= 1
        else:
            self._wait(conclusion)

    def _wait(self, conclusion: Conclusion) -> None:
        settle = partial(self._settler.settle_single, conclusion)
        self._tasks.start_soon(self._work, conclusion.deliveries, settle)

    def _give_up(self, delivery: Delivery, error: Exception) -> None:
        give_up = partial(self._settler.give_up, (delivery,), error)
        self._tasks.start_soon(self._work, (delivery,), give_up)
