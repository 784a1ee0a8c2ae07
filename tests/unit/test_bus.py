import asyncio
from collections.abc import Callable

import pytest

from bus.bus import Bus, Pool
from bus.event import Event
from bus.outcome import Failed, Ok, Outcome, Output
from tests.kit.pools import Roomy
from tests.kit.targets import Awaiting, Begun

EVENT = Event(source="/test", type="test", function="f")


class Recorder(Awaiting):
    """A target that answers with `outcome`, or breaks its promise and raises it."""

    def __init__(self, outcome: Outcome | Exception) -> None:
        self.outcome = outcome
        self.asked: list[tuple[object, ...]] = []
        self.its_pool = Roomy()

    def begin(self, event: Event, done: Callable[[Outcome], None]) -> Begun:
        self.asked.append((event,))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return super().begin(event, done)

    async def call(self, event: Event) -> Outcome:
        assert not isinstance(self.outcome, Exception)
        return self.outcome

    def version(self, function: str, wanted: str) -> str:
        return ""

    def pool(self, function: str) -> Pool:
        self.asked.append((function,))
        return self.its_pool


def attached(target: Recorder) -> Bus:
    bus = Bus()
    bus.attach(target)
    return bus


async def test_everything_is_forwarded() -> None:
    target = Recorder(Ok())
    bus = attached(target)
    assert await bus.call(EVENT) is target.outcome
    assert bus.pool("f") is target.its_pool
    assert target.asked == [(EVENT,), ("f",)]


async def test_a_call_never_raises() -> None:
    outcome = await attached(Recorder(LookupError("oh"))).call(EVENT)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code) == ("error", "LookupError")
    assert "oh" in outcome.message
    assert "LookupError" in outcome.traceback


async def test_a_call_without_a_target_says_what_is_missing() -> None:
    outcome = await Bus().call(EVENT)
    assert isinstance(outcome, Failed)
    assert "attach one" in outcome.message


async def test_cancelling_a_call_withdraws_it() -> None:
    began, withdrawn = asyncio.Event(), asyncio.Event()

    class Waiting(Recorder):
        async def call(self, event: Event) -> Outcome:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                withdrawn.set()
            return Ok()

    call = asyncio.create_task(attached(Waiting(Ok())).call(EVENT))
    await began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert withdrawn.is_set()


def test_a_bus_has_one_target() -> None:
    bus = attached(Recorder(Ok()))
    with pytest.raises(RuntimeError, match="already has a target"):
        bus.attach(Recorder(Ok()))


async def test_outputs_that_cannot_be_stored_are_a_failure_and_never_silence() -> None:
    returned = Ok(outputs=(Output("send", "orders", "text/plain", b"x"),), start="warm", instance="f-1", cpu_ns=5)
    outcome = await attached(Recorder(returned)).call(EVENT)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code, outcome.instance, outcome.cpu_ns) == ("store", "NotStored", "f-1", 5)
    assert "the bus has no store" in outcome.message
