"""Dead letters of real stores: found, replayed, purged, with nothing else touched."""

import asyncio

import pytest

from bus.bus import Bus
from bus.message import QUEUE, Message
from bus.retry import Dead
from bus.store import Source, Store
from forklight.admin import dead_letter_queues
from forklight.admin.dead_letter_queues import DeadLetterQueues, Moved, Selection
from forklight.admin.dead_letters import LetterError
from forklight.observe import metrics
from forklight.observe.queue_status import queue_statuses
from forklight.observe.tally import Tally
from tests.kit.stores import LIMIT_S, StoreFactory, browsed, drain, fill, fresh, ids, settle, take, to
from triggers.queue.settings import QueueTrigger


class House:
    """Two queues of one function that share a dead letter queue."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.orders, self.refunds, self.dead = fresh("orders"), fresh("refunds"), fresh("dead")
        self.triggers = [
            QueueTrigger(function="f", queue=queue, dead_letter=self.dead, slots=1)
            for queue in (self.orders, self.refunds)
        ]
        self.letters = DeadLetterQueues(Bus(store), self.triggers)

    async def bury(self, queue: str, count: int) -> list[str]:
        """Messages of the queue that can never succeed."""
        found = await fill(self.store, queue, count)
        source = Source(queue=queue, function="f", dead_letter=self.dead)
        async with self.store.consume(source, prefetch=count) as consumer:
            await settle(self.store, await take(consumer, count), Dead("Rejected", "error/Rejected: no"))
        return found


async def test_they_are_listed_with_their_reason(stores: StoreFactory) -> None:
    async with stores() as store:
        house = House(store)
        [order], [refund] = await house.bury(house.orders, 1), await house.bury(house.refunds, 1)
        await browsed(store, house.dead, 2)
        found = {letter.id: letter for letter in await house.letters.letters()}
        assert found.keys() == {order, refund}
        assert (found[order].queue, found[order].function, found[order].reason) == (house.orders, "f", "Rejected")
        assert (found[order].attempts, found[order].last_error) == (1, "error/Rejected: no")
        assert [letter.id for letter in await house.letters.letters(house.refunds)] == [refund]
        assert len(await house.letters.letters(house.dead)) == 2
        shown = await house.letters.show(refund[:20])
        assert (shown.letter.id, shown.body) == (refund, "{}")


async def test_one_is_sent_back_and_the_others_stay(stores: StoreFactory) -> None:
    async with stores() as store:
        house = House(store)
        order, other = await house.bury(house.orders, 2)
        await browsed(store, house.dead, 2)
        assert await house.letters.replay(Selection(ids=(order,))) == Moved(moved=1)
        [delivery] = await drain(store, house.orders, 1)
        assert (delivery.message.id, delivery.attempt) == (order, 1)
        assert not any(name.startswith("forklight-") for name in delivery.message.headers)
        assert ids(await browsed(store, house.dead, 1)) == [other]


async def test_those_of_one_queue_are_sent_back(stores: StoreFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """More letters than one step takes, behind others that stay."""
    monkeypatch.setattr(dead_letter_queues, "ROUND", 100)
    async with stores() as store:
        house = House(store)
        count = 105
        refunds = await house.bury(house.refunds, count)
        orders = await house.bury(house.orders, count)
        await browsed(store, house.dead, 2 * count)
        assert await house.letters.replay(Selection(queue=house.orders)) == Moved(moved=count)
        assert sorted(ids(await drain(store, house.orders, count))) == sorted(orders)
        assert sorted(ids(await browsed(store, house.dead, count))) == sorted(refunds)


async def test_those_behind_the_first_page_are_listed_shown_and_sent_back(
    stores: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_queues, "FIRST_PAGE", 4)
    monkeypatch.setattr(dead_letter_queues, "LARGEST_PAGE", 8)
    async with stores() as store:
        house = House(store)
        sent = await house.bury(house.orders, 30)
        await browsed(store, house.dead, 30)
        assert sorted(letter.id for letter in await house.letters.letters(limit=100)) == sorted(sent)
        first, second = await house.letters.letters(limit=15), await house.letters.letters(limit=20, skip=15)
        assert sorted(letter.id for letter in (*first, *second)) == sorted(sent)
        last = (await house.letters.letters(skip=29))[0].id
        assert (await house.letters.show(last)).body == "{}"
        assert await house.letters.replay(Selection(ids=(last,))) == Moved(moved=1)
        assert ids(await drain(store, house.orders, 1)) == [last]


async def test_large_ones_are_moved_in_steps(stores: StoreFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_queues, "ROUND_BYTES", 250_000)
    async with stores() as store:
        house = House(store)
        letters = [Message(id=f"m{number}", body=bytes(100_000), headers={QUEUE: house.orders}) for number in range(7)]
        await store.publish(to(house.dead, *letters))
        await browsed(store, house.dead, 7)
        named = tuple(each.id or "" for each in letters[:5])
        assert await house.letters.replay(Selection(ids=named)) == Moved(moved=5)
        back = await drain(store, house.orders, 5)
        assert sorted(ids(back)) == sorted(named)
        assert {len(each.message.body) for each in back} == {100_000}
        assert await house.letters.purge(Selection(ids=("m5", "m6"))) == Moved(moved=2)


async def test_those_of_one_queue_are_removed(stores: StoreFactory) -> None:
    async with stores() as store:
        house = House(store)
        await house.bury(house.orders, 3)
        kept = await house.bury(house.refunds, 1)
        await browsed(store, house.dead, 4)
        assert await house.letters.purge(Selection(queue=house.orders)) == Moved(moved=3)
        assert ids(await browsed(store, house.dead, 1)) == kept
        assert await house.letters.purge(Selection(all=True)) == Moved(moved=1)
        assert await browsed(store, house.dead, 0) == []


async def test_a_stranger_is_left_and_counted(stores: StoreFactory) -> None:
    async with stores() as store:
        house = House(store)
        await store.publish(to(house.dead, Message(id="stranger", body=b"x")))
        [order] = await house.bury(house.orders, 1)
        await browsed(store, house.dead, 2)
        assert await house.letters.replay(Selection(all=True)) == Moved(moved=1, left=1)
        with pytest.raises(LetterError, match="stranger does not say which queue it came from"):
            await house.letters.replay(Selection(ids=("stranger",)))
        assert ids(await browsed(store, house.dead, 1)) == ["stranger"]
        assert ids(await drain(store, house.orders, 1)) == [order]


async def test_an_unknown_queue_is_an_error_with_a_hint(stores: StoreFactory) -> None:
    async with stores() as store:
        house = House(store)
        with pytest.raises(
            LetterError, match=rf"no function here has dead letters of .* \(did you mean '{house.orders}"
        ):
            await house.letters.purge(Selection(queue=house.orders + "x"))


@pytest.mark.parametrize("fields", [{}, {"ids": ("x",), "all": True}, {"queue": "q", "all": True}])
def test_a_selection_says_one_thing(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="say which"):
        Selection(**fields)  # type: ignore[arg-type]


async def test_what_lies_in_the_queues_is_told(stores: StoreFactory) -> None:
    async with stores() as store:
        house = House(store)
        await house.bury(house.orders, 2)
        await fill(store, house.orders, 3)
        await browsed(store, house.dead, 2)
        await browsed(store, house.orders, 3)
        async with asyncio.timeout(LIMIT_S):
            while (await store.statistics(house.orders)).ready != 3:  # noqa: ASYNC110  # a broker takes a moment
                await asyncio.sleep(0.01)
        orders, refunds = await queue_statuses(Bus(store), house.triggers)
        assert (orders.queue, orders.ready, orders.running, orders.dead) == (house.orders, 3, 0, 2)
        assert (refunds.ready, refunds.dead, refunds.problem) == (0, 0, ""), "each letter is counted once"
        scraped = metrics.text(metrics.gather({}, (), (orders, refunds), Tally())).decode()
        assert f'forklight_queue_messages{{queue="{house.dead}",state="dead"}} 2.0' in scraped


async def test_a_broker_that_is_not_there_is_told_as_a_problem(stores: StoreFactory) -> None:
    trigger = QueueTrigger(function="f", queue="orders", broker="shop", dead_letter="dead", slots=1)
    async with stores() as store:
        [status] = await queue_statuses(Bus(store), [trigger])
        assert (status.queue, status.ready, status.dead) == ("orders@shop", None, None)
        assert status.problem == "there is no broker 'shop'"
