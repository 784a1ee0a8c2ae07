"""The bus: carries events to the dispatcher and outcomes back, and stores what must survive a crash.

It knows the dispatcher only as a `Target`, and the places of messages only as a `Store`: its own, and one for each
broker of `[brokers.NAME]`. There are three roads: `call` (HTTP, timers), `attempt` and `settle` (a queue's consumer),
and `publish` (an event for a function's inbox). When a trigger is done with an event, it reports it to the subscribers.
"""

import logging
import traceback
from asyncio import CancelledError, Future, get_running_loop
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

import anyio
from msgspec.structs import replace

from bus.event import Event
from bus.invocation import Invocation, Reporter
from bus.message import Outgoing, event_message, inbox
from bus.outcome import ExceptionName, Failed, Ok, Outcome, deliver
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


class Begun(Protocol):
    """An event on its way, whose outcome a callback will get."""

    def drop(self) -> None:
        """The caller has left: an event that waits is withdrawn, one that runs goes on without the callback."""


class Target(Protocol):
    """What runs events for the bus: the dispatcher, or a stand-in of a test or benchmark."""

    def begin(self, event: Event, done: Callable[[Outcome], None]) -> Begun:
        """Run the event's function; every failure is an outcome. `done` gets it in a later turn of the event loop."""

    def pool(self, function: str) -> Pool:
        """Return the function's pool. Raises LookupError if there is no such function."""

    def version(self, function: str, wanted: str) -> str:
        """Return the name by which `begin` knows this version of the function: a number, or an alias.

        Empty if the function has no numbered versions, because it was not deployed. Raises LookupError, which says
        which versions there are.
        """


class Bus:
    """Created first, given its target once by the composition root, then used by every trigger."""

    def __init__(
        self,
        store: Store | None = None,
        brokers: Mapping[str, Store] | None = None,
        functions: Collection[str] = (),
    ) -> None:
        """`brokers` are stores by name. `functions` may be spawned; the attribute `queues` has the consumed queues of
        the bus's own store. A reload assigns both. Without a store nothing can be stored.
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
        """Send all events to `target`. A bus has one in its life."""
        if self._target is not None:
            raise RuntimeError(f"the bus already has a target, {self._target!r}: make a second bus")
        self._target = target

    @property
    def target(self) -> Target:
        if self._target is None:
            raise RuntimeError("the bus has no target yet: attach one before a trigger starts")
        return self._target

    def subscribe(self, reporter: Reporter) -> None:
        """Pass every record from now on to `reporter`, after the earlier subscribers."""
        self._reporters = (*self._reporters, reporter)

    def unsubscribe(self, reporter: Reporter) -> None:
        """Pass no more records to `reporter`."""
        self._reporters = tuple([each for each in self._reporters if each != reporter])

    def report(self, invocation: Invocation) -> None:
        """Pass a record to the subscribers. One that raises affects neither the event nor the others."""
        for reporter in self._reporters:
            try:
                reporter(invocation)
            except Exception:
                log.exception("an invocation was not recorded; please report this")

    def store(self, broker: str = "") -> Store:
        """Return the bus's own store, or that of `[brokers.NAME]`. Raises StoreError if there is none."""
        try:
            return self._stores[broker]
        except KeyError:
            raise StoreError(f"there is no broker {broker!r}" if broker else "the bus has no store") from None

    def begin(self, event: Event, done: Callable[[Outcome], None], version: str = "") -> Begun:
        """The first half of `call`, for callers without a task.

        `version`, a name that `self.version` returned, is to run the event; by default the target decides. `done` gets
        exactly one outcome, in a later turn of the event loop, unless the event is dropped. It must pass one with
        outputs to `complete`, and must not raise. An exception of the target becomes a failure of kind `error`, so that
        triggers need to handle only outcomes.
        """
        try:
            event = replace(event, function=version, fixed=b"") if version else event
            return (self._target or self.target).begin(event, done)
        except Exception as error:
            return _Broken(done, _broken(event, error))

    async def _run(self, event: Event, version: str = "") -> Outcome:
        waiter: Future[Outcome] = get_running_loop().create_future()
        begun = self.begin(event, partial(deliver, waiter), version)
        try:
            return await waiter
        except Exception as error:
            begun.drop()
            return _broken(event, error)
        except CancelledError:
            begun.drop()
            raise

    async def complete(self, event: Event, outcome: Outcome) -> Outcome:
        """The second half: store what the handler sent. Return the outcome for the trigger, as `call` does."""
        try:
            if isinstance(outcome, Ok) and outcome.outputs:
                return await self._store_outputs(outcome, event)
        except Exception as error:
            return _broken(event, error)
        return outcome

    async def call(self, event: Event, version: str = "") -> Outcome:
        """Return exactly one outcome, and raise nothing but cancellation, which means that the caller left.

        Outputs of the handler are stored before the outcome is returned. If that fails, the outcome is a failure of
        kind `store`, or `error` if they can never be stored.
        """
        return await self.complete(event, await self._run(event, version))

    async def call_reported(self, event: Event) -> Outcome:
        """Like `call`, and report the outcome, or that the caller left. For callers without a verdict of their own."""
        try:
            outcome = await self.call(event)
        except CancelledError:
            self.report(Invocation(event, None))
            raise
        self.report(Invocation(event, outcome))
        return outcome

    async def attempt(self, event: Event) -> tuple[Outcome, tuple[Outgoing, ...]]:
        """Like `call`, for a consumer: return the outputs instead of storing them; `settle` will."""
        return self.routed(await self._run(event), event)

    def routed(self, outcome: Outcome, event: Event) -> tuple[Outcome, tuple[Outgoing, ...]]:
        """The second half of `attempt`, as `begin` is the first: take the outputs out of the outcome."""
        try:
            if isinstance(outcome, Ok) and outcome.outputs:
                return self._routed(outcome, event)
        except Exception as error:
            return _broken(event, error), ()
        return outcome, ()

    def settle_soon(self, broker: str, settlement: Settlement, done: Callable[[StoreError | None], None]) -> bool:
        """Hand one settlement over without waiting; see `Store.settle_soon`. False if it takes `settle`."""
        for output in settlement.outputs:
            if output.broker != broker:
                return False
        return self.store(broker).settle_soon(settlement, done)

    async def settle(self, broker: str, settlements: Sequence[Settlement]) -> None:
        """Store the outputs that go to other stores, then carry out the decisions in the deliveries' own store.

        Each step is repeated on its own until it succeeds, so that a failure of the second does not store outputs
        twice; meanwhile the deliveries stay leased. Raises RefusedError if an output can never be stored: then nothing
        is settled, and the attempt has failed.
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
        """Store an event in its function's inbox, which delivers it at least once. Raises StoreError."""
        if event.function is None:
            raise ValueError(f"the event {event.id!r} names no function")
        await self.store().publish([Outgoing(queue=inbox(event.function), message=event_message(event))])

    def consume(self, broker: str, source: Source, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        """Consume from the store of `broker`; see `Store.consume`."""
        return self.store(broker).consume(source, prefetch)

    def pool(self, function: str) -> Pool:
        """Return the function's pool. Raises LookupError if there is no such function."""
        return self.target.pool(function)

    def version(self, function: str, wanted: str) -> str:
        """Return what `begin` and `call` take for this version of a function; see `Target.version`."""
        return self.target.version(function, wanted)

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
    """Repeat a step of settling until its store accepts it. Raises RefusedError if an output is refused for good."""
    wait_s = _FIRST_WAIT_S
    while True:
        try:
            return await step()
        except StoreError as error:
            if isinstance(error, RefusedError) and any(one.outputs for one in settlements):
                raise
            queue = settlements[0].delivery.queue
            log.warning("queue %s: settling failed, trying again in %.1f s: %s", queue, wait_s, error)
            await anyio.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)


class _Broken:
    """An event whose target raised."""

    def __init__(self, done: Callable[[Outcome], None], failed: Failed) -> None:
        self._handle = get_running_loop().call_soon(done, failed)

    def drop(self) -> None:
        self._handle.cancel()


def _broken(event: Event, error: Exception) -> Failed:
    log.exception("event %s for function %s broke its target", event.id, event.function)
    return Failed(
        kind="error",
        code=ExceptionName(type(error).__name__),
        message=f"the dispatcher failed on this event: {error}",
        traceback=traceback.format_exc(),
    )
