"""One message at a time: run, settled, tried again, or dead with what became of it."""

import asyncio
import time

from bus.message import ATTEMPT, FIRST_ERROR, FUNCTION, LAST_ERROR, QUEUE, REASON, Message
from bus.outcome import Ok
from bus.retry import Dead, Retry, RetryPolicy
from tests.kit.consuming import ACK, consuming, trigger, working
from tests.kit.serving import closed_gate, serving
from tests.kit.stores import StoreFactory, fresh, message, take, to
from tests.kit.stores import source as source_of
from tests.kit.support import Bench, answer, until


async def test_a_handler_sees_the_message(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    sent = Message(id="m-1", body=b'{"n":1}', content_type="application/json", headers={"x": [b"y"], "ce-subject": "s"})
    async with working(bench, stores, bench.spec("queue", "echo"), trigger(queue)) as running:
        await running.store.publish(to(queue, sent))
        await running.settled(1)
        [(event, outcome, decisions)] = running.reports
        assert outcome is not None
        seen = answer(outcome)
        assert list(decisions) == [ACK]
        await running.wait_left(queue)
    assert (event.id, seen["id"], seen["data"], seen["subject"]) == ("m-1", "m-1", {"n": 1}, "s")
    assert (seen["queue"]["name"], seen["queue"]["message_id"], seen["queue"]["attempt"]) == (queue, "m-1", 1)
    assert seen["queue"]["headers"]["x"] == ["y"]
    assert seen["context"] == ["m-1", 1]


async def test_a_message_is_settled_after_its_outcome_and_not_before(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    with closed_gate() as gate:
        async with working(bench, stores, bench.spec("pool_work", "held"), trigger(queue)) as running:
            await running.send(queue, gate.path)
            await until(lambda: running.served.running() == 1)
            await running.wait_left(queue, running=1)
            assert (running.reports, running.consumer.statistics().running) == ([], 1)
            gate.release()
            await running.settled(1)
            await running.wait_left(queue)


async def test_slots_and_messages_that_run_take_no_tasks(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    with closed_gate() as gate:
        async with working(bench, stores, bench.spec("pool_work", "held"), trigger(queue, slots=1000)) as running:
            await running.send(queue, *[gate.path] * 40)
            await until(lambda: running.consumer.statistics().running == 40)
            assert len(asyncio.all_tasks()) < 40
            gate.release(40)
            await running.settled(40)
            await running.wait_left(queue)


async def test_a_consumer_that_ends_before_the_outcome_leaves_the_message(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    with closed_gate() as gate:
        async with stores() as store, serving(bench.tree, bench.spec("pool_work", "held")) as served:
            async with consuming(served, store, trigger(queue)) as running:
                [sent] = await running.send(queue, gate.path)
                await until(lambda: served.running() == 1)
            async with store.consume(source_of(queue), prefetch=1) as consumer:
                [again] = await take(consumer)
            gate.release()
    assert (again.message.id, again.attempt, again.redelivered) == (sent, 1, True)


async def test_a_poison_message_dies_after_its_attempts_and_harms_no_other(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    async with working(bench, stores, bench.spec("queue", "picky"), trigger(queue)) as running:
        before = await running.send(queue, *range(10))
        [poison] = await running.send(queue, "bad", headers={"x-order": 17, "ce-subject": "s"})
        after = await running.send(queue, *range(10))
        await running.settled(21)
        [letter] = await running.dead(queue, 1)
        await running.wait_left(queue)
        assert [running.decided(good) for good in before + after] == [[ACK]] * 20
        assert [type(decision) for decision in running.decided(poison)] == [Retry, Retry, Dead]
        statistics = running.consumer.statistics()
    assert (letter.id, letter.body, letter.headers["x-order"], letter.headers["ce-subject"]) == (
        poison,
        b'"bad"',
        17,
        "s",
    )
    assert (letter.headers[REASON], letter.headers[ATTEMPT]) == ("Attempts", 3)
    assert letter.headers[FIRST_ERROR] == "error/ValueError: attempt 1"
    assert letter.headers[LAST_ERROR] == "error/ValueError: attempt 3"
    assert (letter.headers[QUEUE], letter.headers[FUNCTION]) == (queue, "f")
    assert (statistics.acked, statistics.retried, statistics.dead, statistics.running) == (20, 2, 1, 0)


async def test_a_handler_asks_for_another_attempt_or_for_none(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    async with working(bench, stores, bench.spec("queue", "picky"), trigger(queue)) as running:
        again, never = await running.send(queue, "again", "never")
        await running.settled(2)
        [letter] = await running.dead(queue, 1)
        asked, done = running.decided(again)
        assert (asked, done) == (Retry(0.01, "error/Retry: the handler asked for another attempt in 0.01 s"), ACK)
        assert running.decided(never) == [Dead("Rejected", "error/Rejected: not an order")]
    assert (letter.id, letter.headers[REASON], letter.headers[ATTEMPT]) == (never, "Rejected", 1)


async def test_what_no_handler_can_be_given_is_dead_at_once(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    poison = [
        message(b"{"),
        message(b"[" * 10_000, content_type="application/json"),
        message(b"no event", content_type="application/cloudevents+json"),
        message(b"1", headers={"x": "\0" * 100_000}),
    ]
    fine = [
        message(b"\xff\x00", content_type="?;;="),
        message(b"", content_type=None, headers={"ce-id": 7, "ce-time": "soon"}),
        message(b"x" * 1024 * 1024, content_type="text/plain"),
    ]
    async with working(bench, stores, bench.spec("queue", "slow"), trigger(queue)) as running:
        await running.store.publish(to(queue, *poison, *fine))
        await running.settled(7)
        letters = await running.dead(queue, 4)
        assert [running.decided(each.id or "") for each in fine] == [[ACK]] * 3
        assert running.consumer.statistics().retried == 0
    assert {letter.id: letter.body for letter in letters} == {each.id: each.body for each in poison}
    assert {letter.headers[REASON] for letter in letters} == {"Undecodable"}


async def test_a_message_without_an_id_has_one_from_here_to_its_dead_letter(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    async with working(bench, stores, bench.spec("queue", "picky"), trigger(queue)) as running:
        await running.store.publish(to(queue, Message(body=b'"bad"', content_type="application/json")))
        await running.settled(1)
        [letter] = await running.dead(queue, 1)
    ids = [event.id for event, *_ in running.reports]
    assert all(ids)
    assert letter.id == ids[-1]


async def test_a_message_that_is_too_old_is_not_run(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    policy = RetryPolicy(max_age_s=60.0)
    async with stores() as store, serving(bench.tree, bench.spec("queue", "slow")) as served:
        consumed = trigger(queue, retry=policy)
        async with consuming(served, store, consumed, now_s=lambda: time.time() + 120) as running:
            await running.send(queue, 1)
            await running.settled(1)
            [letter] = await running.dead(queue, 1)
    [(event, outcome, _)] = running.reports
    assert (event.id, outcome, letter.headers[REASON]) == (letter.id, None, "MaxAge")
    assert letter.headers[LAST_ERROR].startswith("not run: it is 12")


async def test_a_message_that_fails_until_it_is_too_old_is_dead(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    policy = RetryPolicy(attempts=1_000_000, backoff_s=0.0, max_age_s=2.0)
    async with working(bench, stores, bench.spec("queue", "picky"), trigger(queue, retry=policy)) as running:
        await running.send(queue, "bad")
        await running.settled(1)
        [letter] = await running.dead(queue, 1)
    assert letter.headers[REASON] == "MaxAge"
    assert letter.headers[FIRST_ERROR] == "error/ValueError: attempt 1"


async def test_the_inbox_is_consumed_like_any_queue(bench: Bench, stores: StoreFactory) -> None:
    queue = fresh()
    async with working(bench, stores, bench.spec("queue", "sends"), trigger(queue), trigger()) as running:
        await running.send(queue, {"spawn": [1, 2]})
        await running.settled(3)
    calls = {event.id: (event, outcome) for event, outcome, _ in running.reports if event.call is not None}
    assert sorted(calls) == ["spawned-1", "spawned-2"]
    event, outcome = calls["spawned-1"]
    assert event.call is not None
    assert (event.call.caller, event.hops, event.type) == ("f", 1, "forklight.call")
    assert isinstance(outcome, Ok)
    assert outcome.body == b"1"
