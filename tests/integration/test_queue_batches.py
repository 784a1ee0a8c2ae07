"""Several messages as one event, and each of them settled on its own."""

import json
from collections.abc import Sequence

import pytest

from bus.message import ATTEMPT, REASON, Delivery
from bus.retry import Decision, Retry, RetryPolicy
from tests.kit.consuming import ACK, Consuming, trigger, working
from tests.kit.stores import StoreFactory, drain, fresh, message, to
from tests.kit.support import Bench, until

FOREVER_S = 60.0


def batches(running: Consuming) -> list[tuple[list[str], Sequence[Decision]]]:
    """Which messages ran together, and what was decided about each."""
    return [([item.id for item in event.items or ()], decisions) for event, _, decisions in running.reports]


def bodies(deliveries: Sequence[Delivery]) -> list[list[str]]:
    return [json.loads(each.message.body) for each in deliveries]


async def test_a_full_batch_runs_at_once(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=5, batch_window_s=FOREVER_S)
    async with working(bench, stores, bench.spec("queue", "batched"), consumed) as running:
        sent = await running.send(queue, *range(10))
        await running.settled(10)
        ran = batches(running)
        assert sorted(each for ids, _ in ran for each in ids) == sorted(sent)
        assert [len(ids) for ids, _ in ran] == [5, 5]
        seen = bodies(await drain(running.store, f"sizes-of-{queue}", 2))
        assert sorted(seen) == sorted(ids for ids, _ in ran), "the handler saw what was settled"


async def test_messages_that_come_one_by_one_fill_one_batch(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=3, batch_window_s=FOREVER_S)
    async with working(bench, stores, bench.spec("queue", "batched"), consumed) as running:
        sent = []
        for number in (1, 2, 3):
            sent += await running.send(queue, number)
            await running.wait_left(queue, running=number % 3)
        await running.settled(3)
    assert batches(running) == [(sent, [ACK] * 3)]


async def test_a_batch_runs_when_its_window_has_passed(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=5, batch_window_s=0.05)
    async with working(bench, stores, bench.spec("queue", "batched"), consumed) as running:
        [sent] = await running.send(queue, 1)
        await running.settled(1)
        assert batches(running) == [([sent], [ACK])]


async def test_a_batch_without_a_window_takes_what_is_there(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    async with working(bench, stores, bench.spec("queue", "batched"), trigger(queue, batch=5)) as running:
        sent = await running.send(queue, *range(7))
        await running.settled(7)
        assert sorted(each for ids, _ in batches(running) for each in ids) == sorted(sent)


async def test_only_the_listed_messages_of_a_batch_are_tried_again(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=4, batch_window_s=0.2)
    async with working(bench, stores, bench.spec("queue", "batched"), consumed) as running:
        good_one, bad, good_two, good_three = await running.send(queue, 1, "bad", 2, 3)
        await running.settled(4)
        [letter] = await running.dead(queue, 1)
        await running.wait_left(queue)
    decided: dict[str, list[Decision]] = {}
    for ids, decisions in batches(running):
        for each, decision in zip(ids, decisions, strict=True):
            decided.setdefault(each, []).append(decision)
    assert [decided[each] for each in (good_one, good_two, good_three)] == [[ACK]] * 3
    assert [type(decision).__name__ for decision in decided[bad]] == ["Retry", "Retry", "Dead"]
    assert (letter.id, letter.headers[REASON]) == (bad, "Attempts")


async def test_outputs_of_a_batch_of_which_nothing_is_done_are_dropped(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=2, batch_window_s=0.2)
    async with working(bench, stores, bench.spec("queue", "batched"), consumed) as running:
        await running.send(queue, "bad", "bad")
        await running.settled(2)
        await running.wait_left(f"sizes-of-{queue}")
        [good] = await running.send(queue, 1)
        await running.settled(3)
        assert bodies(await drain(running.store, f"sizes-of-{queue}", 1)) == [[good]]


async def test_a_batch_whose_failures_nobody_can_read_has_failed(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=3, batch_window_s=0.2)
    async with working(bench, stores, bench.spec("queue", "malformed"), consumed) as running:
        await running.send(queue, 1, 2, 3)
        await running.settled(3)
        assert len(await running.dead(queue, 3)) == 3
    first = running.reports[0][2]
    assert [type(decision) for decision in first] == [Retry] * len(first)


async def test_a_message_that_cannot_be_decoded_does_not_kill_its_batch(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    poison = message(b"{")
    good = [message(b"1"), message(b"2"), message(b"3")]
    consumed = trigger(queue, batch=4, batch_window_s=FOREVER_S)
    async with working(bench, stores, bench.spec("queue", "batched"), consumed) as running:
        await running.store.publish(to(queue, good[0], poison, *good[1:]))
        await running.settled(4)
        [letter] = await running.dead(queue, 1)
        assert (letter.id, letter.headers[REASON]) == (poison.id, "Undecodable")
        seen = bodies(await drain(running.store, f"sizes-of-{queue}", 3))
        assert sorted(seen) == sorted([each.id] for each in good)
    assert running.consumer.statistics().retried == 0
    assert [decisions for ids, decisions in batches(running) if len(ids) == 4] == [()]


async def test_a_message_that_its_handler_rejects_does_not_kill_its_batch(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=3, batch_window_s=FOREVER_S)
    async with working(bench, stores, bench.spec("queue", "rejects_batch"), consumed) as running:
        _, bad, _ = await running.send(queue, 1, "bad", 2)
        await running.settled(3)
        [letter] = await running.dead(queue, 1)
    assert (letter.id, letter.headers[REASON]) == (bad, "Rejected")


async def test_a_batch_that_fits_in_no_frame_is_run_in_parts(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=12, batch_window_s=FOREVER_S)
    async with working(bench, stores, bench.spec("queue", "batched"), consumed) as running:
        await running.send(queue, *range(12), headers={"x": "x" * 100_000})
        await running.settled(12)
        await until(lambda: len(running.reports) == 2)
    assert [len(ids) for ids, _ in batches(running)] == [9, 3]


@pytest.mark.parametrize("poison", ["bad", "crash"])
async def test_a_batch_that_one_message_breaks_each_time_dies_alone(
    bench: Bench, stores: StoreFactory, poison: str
) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=5, batch_window_s=0.2, slots=1)
    async with working(bench, stores, bench.spec("queue", "breaks_batch"), consumed) as running:
        *_, bad = await running.send(queue, 1, 2, 3, 4, poison)
        await running.settled(5)
        [letter] = await running.dead(queue, 1)
        await running.wait_left(queue)
    assert (letter.id, letter.headers[REASON], letter.headers[ATTEMPT]) == (bad, "Attempts", 3)
    assert running.consumer.statistics().acked == 4


async def test_with_one_attempt_a_broken_batch_is_found_out_one_by_one(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    consumed = trigger(queue, batch=3, batch_window_s=FOREVER_S, retry=RetryPolicy(attempts=1))
    async with working(bench, stores, bench.spec("queue", "breaks_batch"), consumed) as running:
        _, bad, _ = await running.send(queue, 1, "bad", 2)
        await running.settled(3)
        [letter] = await running.dead(queue, 1)
    assert letter.id == bad


async def test_a_batch_is_bounded_in_bytes(bench: Bench, stores: StoreFactory) -> None:
    queue, size = fresh(), 300_000
    consumed = trigger(queue, batch=9, batch_window_s=0.5, max_batch_bytes=1_000_000, slots=1)
    async with working(bench, stores, bench.spec("queue", "batched"), consumed) as running:
        await running.send(queue, *["x" * size] * 7, "x" * 2_000_000)
        await running.settled(8)
    sizes = [[len(item.body) for item in event.items or ()] for event, _, _ in running.reports]
    assert sum(map(len, sizes)) == 8
    assert all(sum(each) <= 1_000_000 or len(each) == 1 for each in sizes)
    assert sizes[0] == [size + 2] * 3
