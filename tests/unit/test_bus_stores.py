"""What the bus stores, where, and what it says if it cannot: the roads of outputs, settlements and published events."""

from collections.abc import Sequence

import anyio
import pytest

from bus.bus import Bus
from bus.event import Event
from bus.message import Delivery, Message, Outgoing
from bus.outcome import ExceptionName, Failed, Ok, Outcome, Output
from bus.retry import Ack, Retry
from bus.store import RefusedError, Settlement, StoreError
from tests.unit.test_bus import EVENT, Recorder

SENT = Output("send", "bills", "text/plain", b"x")
SENT_ELSEWHERE = Output("send", "bills@shop", "text/plain", b"y")
SPAWNED = Output("spawn", "report", "text/plain", b"z")
RETURNED = Ok(body=b"done", outputs=(SENT, SENT_ELSEWHERE, SPAWNED), start="warm", instance="f-1", cpu_ns=5)
DELIVERY = Delivery(queue="orders", message=Message(id="m1"), lease=1)


class Shelf:
    """Remembers what it was given to store; while it is `full` or `refuses`, it takes nothing."""

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name = name
        self.journal = journal
        self.full = False
        self.was_full = anyio.Event()
        self.refuses = False
        self.published: list[Outgoing] = []
        self.settled: list[Settlement] = []

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self._take("publish")
        self.published += messages

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        self._take("settle")
        self.settled += settlements

    def _take(self, what: str) -> None:
        self.journal.append(f"{what} {self.name}")
        if self.full:
            self.was_full.set()
            raise StoreError("the disk is full")
        if self.refuses:
            raise RefusedError("too large")


class House:
    """A bus with a store of its own and the broker `shop`, over a target that answers with `outcome`."""

    def __init__(self, outcome: Outcome | Exception = RETURNED) -> None:
        self.journal: list[str] = []
        self.own = Shelf("own", self.journal)
        self.shop = Shelf("shop", self.journal)
        self.bus = Bus(self.own, {"shop": self.shop}, {"report"})  # type: ignore[arg-type, dict-item]
        self.bus.attach(Recorder(outcome))


def names(messages: Sequence[Outgoing]) -> list[str]:
    return [message.queue for message in messages]


@pytest.mark.invariant("I21")
async def test_a_call_stores_its_outputs_before_it_answers() -> None:
    house = House()
    outcome = await house.bus.call(EVENT)
    assert isinstance(outcome, Ok)
    assert (outcome.body, outcome.outputs, outcome.cpu_ns) == (b"done", (), 5)
    assert names(house.own.published) == ["bills", "forklight.inbox.report"]
    assert names(house.shop.published) == ["bills"]


async def test_a_call_whose_outputs_are_not_stored_has_failed() -> None:
    house = House()
    house.shop.full = True
    outcome = await house.bus.call(EVENT)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code, outcome.instance) == ("store", "NotStored", "f-1")
    assert "the disk is full" in outcome.message


async def test_a_call_whose_outputs_never_can_be_stored_is_the_handlers_error() -> None:
    house = House()
    house.shop.refuses = True
    outcome = await house.bus.call(EVENT)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code, outcome.message, outcome.cpu_ns) == ("error", "Unroutable", "too large", 5)


@pytest.mark.invariant("I21")
async def test_a_call_that_failed_stores_nothing() -> None:
    house = House(Failed(kind="error", code=ExceptionName("ValueError"), message="no"))
    assert isinstance(await house.bus.call(EVENT), Failed)
    assert house.journal == []


@pytest.mark.parametrize("road", ["call", "attempt"])
async def test_outputs_that_can_go_nowhere_fail_their_invocation_and_none_is_stored(road: str) -> None:
    house = House(Ok(outputs=(SENT, Output("spawn", "nobody", "text/plain", b""))))
    outcome = await house.bus.call(EVENT) if road == "call" else (await house.bus.attempt(EVENT))[0]
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code) == ("error", "Unroutable")
    assert "'nobody'" in outcome.message
    assert house.journal == []


async def test_an_attempt_leaves_its_outputs_to_whoever_settles() -> None:
    house = House()
    outcome, outputs = await house.bus.attempt(EVENT)
    assert isinstance(outcome, Ok)
    assert outcome.outputs == ()
    assert [(one.queue, one.broker) for one in outputs] == [
        ("bills", ""),
        ("bills", "shop"),
        ("forklight.inbox.report", ""),
    ]
    assert house.journal == []


async def test_an_attempt_never_raises() -> None:
    outcome, outputs = await House(LookupError("oh")).bus.attempt(EVENT)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code, outputs) == ("error", "LookupError", ())


async def test_outputs_for_other_stores_are_stored_before_the_message_is_settled() -> None:
    house = House()
    _, outputs = await house.bus.attempt(EVENT)
    await house.bus.settle("", [Settlement(DELIVERY, Ack(), outputs)])
    assert house.journal == ["publish shop", "settle own"]
    assert names(house.shop.published) == ["bills"]
    (settled,) = house.own.settled
    assert (settled.delivery, settled.decision) == (DELIVERY, Ack())
    assert names(settled.outputs) == ["bills", "forklight.inbox.report"]


async def test_outputs_of_a_brokers_message_for_the_own_store_go_first() -> None:
    house = House()
    _, outputs = await house.bus.attempt(EVENT)
    done, failed = Settlement(DELIVERY, Ack(), outputs), Settlement(DELIVERY, Retry(1.0, "no"))
    await house.bus.settle("shop", [done, failed])
    assert house.journal == ["publish own", "settle shop"]
    assert [names(one.outputs) for one in house.shop.settled] == [["bills"], []]


@pytest.mark.parametrize(
    ("full", "journal"),
    [("shop", ["publish shop", "publish shop", "settle own"]), ("own", ["publish shop", "settle own", "settle own"])],
)
async def test_each_step_of_settling_is_repeated_alone_until_its_store_accepts_it(
    full: str, journal: list[str]
) -> None:
    house = House()
    shelf: Shelf = getattr(house, full)
    shelf.full = True
    _, outputs = await house.bus.attempt(EVENT)
    async with anyio.create_task_group() as settling:
        settling.start_soon(house.bus.settle, "", [Settlement(DELIVERY, Ack(), outputs)])
        await shelf.was_full.wait()
        assert house.own.settled == []
        shelf.full = False
    assert house.journal == journal
    assert [names(one.outputs) for one in house.own.settled] == [["bills", "forklight.inbox.report"]]


async def test_nothing_is_settled_if_an_output_can_never_be_stored() -> None:
    house = House()
    house.shop.refuses = True
    _, outputs = await house.bus.attempt(EVENT)
    with pytest.raises(RefusedError, match="too large"):
        await house.bus.settle("", [Settlement(DELIVERY, Ack(), outputs)])
    assert house.journal == ["publish shop"]


async def test_a_published_event_lies_in_its_functions_inbox() -> None:
    house = House()
    await house.bus.publish(EVENT)
    (one,) = house.own.published
    assert (one.queue, one.message.id) == ("forklight.inbox.f", EVENT.id)


async def test_an_event_for_no_function_cannot_be_published() -> None:
    with pytest.raises(ValueError, match="names no function"):
        await House().bus.publish(Event(source="/test", type="test"))


async def test_a_store_that_is_not_there_is_named() -> None:
    with pytest.raises(StoreError, match="the bus has no store"):
        await Bus().publish(EVENT)
    with pytest.raises(StoreError, match="there is no broker 'shop'"):
        Bus().store("shop")
