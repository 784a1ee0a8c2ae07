"""What a handler sends and spawns is stored with the settlement of its message, or not at all."""

from pathlib import Path

from bus.message import HOPS, REASON
from bus.retry import Dead
from bus.sqlite import open_sqlite
from tests.kit.consuming import ACK, consuming, trigger, working
from tests.kit.refusing import Refusing
from tests.kit.serving import serving
from tests.kit.stores import StoreFactory, drain, fresh
from tests.kit.support import Bench


async def test_outputs_are_stored_when_their_message_is_done(bench: Bench, stores: StoreFactory) -> None:
    queue, bills = fresh(), fresh("bills")
    async with working(bench, stores, bench.spec("queue", "sends"), trigger(queue)) as running:
        [sent] = await running.send(queue, {"send": [[bills, "a"], [bills, {"n": 1}]]})
        await running.settled(1)
        first, second = sorted(
            (each.message for each in await drain(running.store, bills, 2)), key=lambda each: each.id or ""
        )
    assert (first.id, first.body, first.content_type) == (f"{sent}-1", b"a", "text/plain; charset=utf-8")
    assert (second.id, second.body, second.content_type) == (f"{sent}-2", b'{"n":1}', "application/json")
    assert (first.headers["x-order"], first.headers["ce-source"], first.headers[HOPS]) == ("17", "/forklight/f", 1)


async def test_outputs_of_a_failure_are_dropped(bench: Bench, stores: StoreFactory) -> None:
    queue, bills = fresh(), fresh("bills")
    async with working(bench, stores, bench.spec("queue", "sends"), trigger(queue), trigger()) as running:
        await running.send(queue, {"send": [[bills, "a"]], "spawn": [1], "fail": True})
        await running.settled(1)
        assert len(await running.dead(queue, 1)) == 1
        await running.wait_left(bills)
    assert [event.queue is not None for event, *_ in running.reports] == [True] * 3, "nothing was spawned"


async def test_a_function_that_sends_to_itself_is_stopped(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    async with working(bench, stores, bench.spec("queue", "loops"), trigger(queue, max_hops=4)) as running:
        await running.send(queue, "round")
        await running.settled(5)
        [letter] = await running.dead(queue, 1)
        await running.wait_left(queue)
    assert [event.hops for event, *_ in running.reports] == [0, 1, 2, 3, 4]
    assert [outcome is None for outcome in running.outcomes()] == [False] * 4 + [True]
    assert (letter.body, letter.headers[REASON]) == (b"round", "MaxHops")


async def test_an_output_that_no_queue_can_hold_is_dead_at_once(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    async with working(bench, stores, bench.spec("queue", "sends"), trigger(queue)) as running:
        [sent] = await running.send(queue, {"send": [["q" * 300, "a"]]})
        await running.settled(1)
        [decision] = running.decided(sent)
    assert isinstance(decision, Dead)
    assert decision.reason == "Unroutable"


async def test_a_store_that_does_not_settle_is_asked_again(bench: Bench, stores: StoreFactory) -> None:
    queue, bills = fresh(), fresh("bills")
    async with stores() as store, serving(bench.tree, bench.spec("queue", "sends")) as served:
        refusing = Refusing(store, times=2)
        async with consuming(served, refusing, trigger(queue)) as running:
            [sent] = await running.send(queue, {"send": [[bills, "a"]]})
            await running.settled(1)
            await running.wait_left(queue)
            assert [each.message.body for each in await drain(store, bills, 1)] == [b"a"]
    assert (refusing.refused, running.decided(sent)) == (2, [ACK])
    assert len(running.reports) == 1, "the handler ran once"


async def test_what_is_sent_elsewhere_is_not_sent_again_while_its_message_is_not_settled(
    bench: Bench, stores: StoreFactory, tmp_path: Path
) -> None:
    queue, bills = fresh(), fresh("bills")
    async with (
        stores() as store,
        open_sqlite(tmp_path / "shop.db") as shop,
        serving(bench.tree, bench.spec("queue", "sends")) as served,
        consuming(served, Refusing(store, times=2), trigger(queue), brokers={"shop": shop}) as running,
    ):
        await running.send(queue, {"send": [[f"{bills}@shop", "a"]]})
        await running.settled(1)
        await running.wait_left(queue)
        assert len(await shop.browse(bills, 10)) == 1
