"""Queues of ours that no function consumes any more: told, shown, and what can be given to somebody else is."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from bus.bus import Bus
from bus.message import ATTEMPT, Message, dead_queue, inbox
from bus.rabbitmq import Application, RabbitStore, open_rabbitmq
from bus.retry import Dead, Retry
from bus.sqlite import SqliteStore, open_sqlite
from bus.store import Source, Store
from forklight.admin.dead_letter_queues import DeadLetterQueues, Moved, Selection
from forklight.admin.dead_letters import LetterError
from forklight.serving.strays import Stray, Strays
from tests.kit.stores import browsed, drain, fill, fresh, ids, settle, take, to
from triggers.queue.settings import QueueTrigger


def triggers(function: str, queue: str) -> list[QueueTrigger]:
    """As a configuration has them: the queue, and the inbox."""
    return [
        QueueTrigger(function=function, queue=each, dead_letter=dead_queue(function), slots=1)
        for each in (queue, inbox(function))
    ]


class House:
    """A function that was called `ship` at first and `shipping` then, and the stores it has."""

    def __init__(self, own: Store, embedded: SqliteStore) -> None:
        self.own = own
        self.embedded = embedded
        self.bus = Bus(own)
        self.orders, self.ship, self.shipping = fresh("orders"), fresh("ship"), fresh("shipping")
        self.before, self.after = triggers(self.ship, self.orders), triggers(self.shipping, self.orders)

    async def bury(self) -> str:
        """A message that is a dead letter of `ship`."""
        [sent] = await fill(self.own, self.orders, 1)
        source = Source(queue=self.orders, function=self.ship, dead_letter=dead_queue(self.ship))
        async with self.own.consume(source, 1) as consumer:
            await settle(self.own, await take(consumer), Dead("Rejected", "no"))
        await browsed(self.own, dead_queue(self.ship), 1)
        return sent

    async def strays(self) -> Strays:
        """As after a restart with the name changed."""
        first = Strays(self.bus, self.embedded)
        await first.begin(self.before)
        again = Strays(self.bus, self.embedded)
        await again.begin(self.after)
        return again


Houses = Callable[[], AbstractAsyncContextManager[House]]


@pytest.fixture(params=["sqlite", "rabbitmq"])
def houses(request: pytest.FixtureRequest, tmp_path: Path) -> Houses:
    """Opens a house on one of the two; it must be used in the task of the test."""
    url = str(request.getfixturevalue("amqp_url")) if request.param == "rabbitmq" else None

    @asynccontextmanager
    async def opened() -> AsyncIterator[House]:
        async with AsyncExitStack() as stack:
            embedded = await stack.enter_async_context(open_sqlite(tmp_path / "store.db"))
            own: Store = embedded
            if url is not None:
                own = await stack.enter_async_context(open_rabbitmq(url, Application(name=fresh("shop"))))
            yield House(own, embedded)

    return opened


async def test_dead_letters_and_the_inbox_of_a_renamed_function_are_told_and_shown(
    houses: Houses, caplog: pytest.LogCaptureFixture
) -> None:
    async with houses() as house:
        buried = await house.bury()
        [called] = await fill(house.own, inbox(house.ship), 1)
        await browsed(house.own, inbox(house.ship), 1)
        strays = await house.strays()
        assert f"queue {dead_queue(house.ship)} has 1 messages, and no function here consumes it" in caplog.text
        found = await strays.find(house.after)
        assert [(stray.place, stray.ready) for stray in found] == [
            (("", dead_queue(house.ship)), 1),
            (("", inbox(house.ship)), 1),
        ]
        letters = DeadLetterQueues(house.bus, house.after, [stray.place for stray in found])
        assert [letter.id for letter in await letters.letters()] == [buried], "a call that waits is no dead letter"
        assert [letter.id for letter in await letters.letters(inbox(house.ship))] == [called]
        assert (await letters.show(called)).letter.id == called
        assert await letters.replay(Selection(all=True)) == Moved(moved=1)
        assert ids(await drain(house.own, house.orders, 1)) == [buried]
        assert await letters.purge(Selection(all=True)) == Moved(moved=0)
        with pytest.raises(LetterError, match="no function here has dead letters of 'refunds'"):
            await letters.letters("refunds")
        with pytest.raises(LetterError, match="no function here has dead letters of 'refunds'"):
            await letters.purge(Selection(queue="refunds"))
        assert await letters.replay(Selection(queue=inbox(house.ship))) == Moved(moved=0, left=1)
        assert await letters.purge(Selection(ids=(called,))) == Moved(moved=1)
        assert await strays.find(house.after) == []


async def test_what_is_consumed_is_no_stray(houses: Houses) -> None:
    async with houses() as house:
        await house.bury()
        await fill(house.own, house.orders, 1)
        strays = Strays(house.bus, house.embedded)
        await strays.begin(house.before)
        assert await strays.find(house.before) == []


async def test_retries_of_a_renamed_function_go_to_who_consumes_their_queue_now(houses: Houses) -> None:
    async with houses() as house:
        [sent] = await fill(house.own, house.orders, 1)
        source = Source(queue=house.orders, function=house.ship, dead_letter=dead_queue(house.ship))
        async with house.own.consume(source, 1) as consumer:
            await settle(house.own, await take(consumer), Retry(0.0, "again"))
        strays = await house.strays()
        if isinstance(house.own, RabbitStore):
            await browsed(house.own, house.own.retry_queue(house.ship, house.orders), 1)
        await strays.adopt(house.after)
        heir = Source(queue=house.orders, function=house.shipping, dead_letter=dead_queue(house.shipping))
        async with house.own.consume(heir, 1) as consumer:
            [delivery] = await take(consumer)
            assert (delivery.message.id, delivery.attempt, delivery.first_error) == (sent, 2, "again")
            assert ATTEMPT not in delivery.message.headers
            await settle(house.own, [delivery])
        assert await strays.adopt(house.after) == 0


async def test_all_that_is_left_in_the_embedded_store_is_told_beside_a_broker(amqp_url: str, tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "store.db") as embedded, open_rabbitmq(amqp_url) as own:
        house = House(own, embedded)
        await embedded.publish(to(house.orders, Message(id="a"), Message(id="b"), delay_s=60))
        [stray] = await Strays(house.bus, embedded).find(house.before)
        assert stray == Stray(("sqlite:", house.orders), 0, 2)
        assert stray.status.queue == f"{house.orders}@sqlite:"
        assert stray.status.problem == "it is in the embedded store, and the bus is a broker"


async def test_a_queue_of_messages_that_never_ran_is_told_and_is_no_dead_letter(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "store.db") as store:
        house = House(store, store)
        await fill(store, "later", 2)
        [stray] = await Strays(house.bus, store).find(house.before)
        assert (stray.place, stray.ready) == (("", "later"), 2)
        letters = DeadLetterQueues(house.bus, house.before, [stray.place])
        assert await letters.letters() == []
        assert await letters.purge(Selection(all=True)) == Moved(moved=0, left=0)
        assert (await store.statistics("later")).ready == 2
