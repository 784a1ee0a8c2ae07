"""The bus: carries events to the dispatcher and outcomes back, and stores what must survive a crash.

It knows the dispatcher only as a `Target`, and where messages lie only as a `Store`: its own, and one for each of other
people's brokers. Three roads: `call` (HTTP, timers), `attempt` and `settle` (a queue's consumer), `publish` (an event
for a function's inbox). A trigger that is done with an event reports the record of it, for whoever subscribed.
"""

import logging
import traceback
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import anyio
from msgspec.structs import replace

from bus.event import Event
from bus.invocation import Invocation, Reporter
from bus.message import Outgoing, event_message, inbox
from bus.outcome import ExceptionName, Failed, Ok, Outcome
from bus.outputs import Known, UnroutableError, not_stored, outgoing, unroutable
from bus.store import Consumer, RefusedError, Settlement, Source, Store, StoreError

log = logging.getLogger(__name__)

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
"""Between attempts to settle; the wait doubles with each."""


class Pool(Protocol):
    """The instances of one function, as its triggers see them."""

    def capacity(self) -> int:
        """How many more events could run at once now; 0 while the function cannot load or the server drains."""

    def on_capacity(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the event loop each time the capacity rises from 0. It must not block."""

    def expect(self, at_ns: int) -> None:
        """Have an instance ready for an event that is due at `at_ns` (CLOCK_MONOTONIC). A hint, not a promise."""


class Target(Protocol):
    """What stands behind the bus: the dispatcher, or whatever a test or a simulation puts in its place."""

    async def call(self, event: Event) -> Outcome:
        """Run the event's function; every failure is an outcome. Cancelling withdraws the event: its caller left."""

    def pool(self, function: str) -> Pool:
        """Return the function's pool. Raises LookupError if there is no such function."""


class Bus:
    """Built first, given its target once by whoever composes the house, then used by every trigger."""

    def __init__(
        self,
        store: Store | None = None,
        brokers: Mapping[str, Store] | None = None,
        functions: Collection[str] = (),
    ) -> None:
        """`brokers` by name; `functions` are those that may be spawned, `queues` those of the bus's own store that have
        consumers: both may be assigned at any time.

        Without a store nothing can be stored.
        """
        self._stores: dict[str, Store] = dict(brokers or {})
        if store is not None:
            self._stores[""] = store
        self._brokers = frozenset(brokers or ())
        self.functions = functions
        self.queues: Collection[str] = ()
        self._target: Target | None = None
        self._reporters: tuple[Reporter, ...] = ()

    def attach(self, target: Target) -> None:
        """Everything from now on goes to `target`; a bus has one in its life."""
        if self._target is not None:
            raise RuntimeError(f"the bus already has a target, {self._target!r}: make a second bus")
        self._target = target

    @property
    def target(self) -> Target:
        if self._target is None:
            raise RuntimeError("the bus has no target yet: attach one before a trigger starts")
        return self._target

    def subscribe(self, reporter: Reporter) -> None:
        """Send `reporter` every record from now on, after the subscribers before it."""
        self._reporters = (*self._reporters, reporter)

    def report(self, invocation: Invocation) -> None:
        """Record what happened. A subscriber that raises harms neither the event nor the other subscribers."""
        for reporter in self._reporters:
            try:
                reporter(invocation)
            except Exception:
                log.exception("an invocation was not recorded; please report this")

    def store(self, broker: str = "") -> Store:
        """The bus's own store, or that of `[brokers.NAME]`. Raises StoreError if there is none."""
        try:
            return self._stores[broker]
        except KeyError:
            raise StoreError(f"there is no broker {broker!r}" if broker else "the bus has no store") from None

    async def call(self, event: Event) -> Outcome:
        """Answers exactly once and raises nothing but cancellation, which means that the caller no longer waits.

        What the handler sent or spawned is stored before the outcome is delivered; if it cannot be, the outcome is a
        failure of kind `store`, never silence; of kind `error` if it never can be. What a target raises against its
        promise becomes a failure of kind `error`, so that no trigger needs a second road for it.
        """
        try:
            outcome = await self.target.call(event)
            if isinstance(outcome, Ok) and outcome.outputs:
                return await self._store_outputs(outcome, event)
        except Exception as error:
            return _broken(event, error)
        return outcome

    async def call_reported(self, event: Event) -> Outcome:
        """`call`, for a caller that decides nothing about the outcome: it is reported, or that nobody waited for it."""
        try:
            outcome = await self.call(event)
        except CancelledError:
            self.report(Invocation(event, None))
            raise
        self.report(Invocation(event, outcome))
        return outcome

    async def attempt(self, event: Event) -> tuple[Outcome, tuple[Outgoing, ...]]:
        """As `call`, for whoever settles a message: what the handler sent is returned, to be stored by `settle`."""
        try:
            outcome = await self.target.call(event)
            if isinstance(outcome, Ok) and outcome.outputs:
                return self._routed(outcome, event)
        except Exception as error:
            return _broken(event, error), ()
        return outcome, ()

    async def settle(self, broker: str, settlements: Sequence[Settlement]) -> None:
        """Carry out the decisions in the deliveries' store, after the outputs that belong in another one are stored.

        Each of the two steps is repeated until it succeeds, so no output is stored twice because the other one failed.
        Meanwhile the deliveries stay leased. Raises RefusedError if an output can never be stored: nothing is settled
        then, and the attempt has failed.
        """
        if any(one.outputs for one in settlements):
            elsewhere = [output for one in settlements for output in one.outputs if output.broker != broker]
            await _insist(lambda: self._publish(elsewhere), settlements)
            settlements = [
                Settlement(one.delivery, one.decision, tuple(each for each in one.outputs if each.broker == broker))
                for one in settlements
            ]
        await _insist(lambda: self.store(broker).settle(settlements), settlements)

    async def publish(self, event: Event) -> None:
        """Store an event for its function, which gets it at least once, from its inbox. Raises StoreError."""
        if event.function is None:
            raise ValueError(f"the event {event.id!r} names no function")
        await self.store().publish([Outgoing(queue=inbox(event.function), message=event_message(event))])

    def consume(self, broker: str, source: Source, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        """As the store's."""
        return self.store(broker).consume(source, prefetch)

    def pool(self, function: str) -> Pool:
        """Return the function's pool. Raises LookupError if there is no such function."""
        return self.target.pool(function)

    def _known(self) -> Known:
        return Known(self.functions, self._brokers, self.queues)

    def _routed(self, outcome: Ok, event: Event) -> tuple[Outcome, tuple[Outgoing, ...]]:
        try:
            return replace(outcome, outputs=()), outgoing(outcome, event, self._known())
        except UnroutableError as error:
            return unroutable(outcome, error), ()

    async def _store_outputs(self, outcome: Ok, event: Event) -> Outcome:
        answered, messages = self._routed(outcome, event)
        try:
            await self._publish(messages)
        except RefusedError as error:
            return unroutable(outcome, error)
        except StoreError as error:
            return not_stored(outcome, error)
        return answered

    async def _publish(self, messages: Sequence[Outgoing]) -> None:
        for broker in sorted({message.broker for message in messages}):
            await self.store(broker).publish([message for message in messages if message.broker == broker])


async def _insist(step: Callable[[], Awaitable[None]], settlements: Sequence[Settlement]) -> None:
    """Repeat a step of settling until its store accepts it. Raises RefusedError if that can never be."""
    wait_s = _FIRST_WAIT_S
    while True:
        try:
            return await step()
        except StoreError as error:
            if isinstance(error, RefusedError) and any(one.outputs for one in settlements):
                raise
            queue = settlements[0].delivery.queue
            log.warning("queue %s: not settled, tried again in %.1f s: %s", queue, wait_s, error)
            await anyio.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)


def _broken(event: Event, error: Exception) -> Failed:
    log.exception("event %s for function %s broke its target", event.id, event.function)
    return Failed(
        kind="error",
        code=ExceptionName(type(error).__name__),
        message=f"the dispatcher failed on this event: {error}",
        traceback=traceback.format_exc(),
    )
