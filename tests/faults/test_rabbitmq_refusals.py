"""What RabbitMQ refuses is refused for ever: it is told apart from what may succeed later, and holds up nobody."""

from collections.abc import AsyncIterator

import pytest

from bus.message import LAST_ERROR, REASON
from bus.rabbitmq import open_rabbitmq
from bus.retry import Ack, Dead
from bus.store import RefusedError, Settlement, Source, StoreError
from tests.kit.broker import Node
from tests.kit.consuming import trigger, working
from tests.kit.stores import browsed, drain, fill, fresh, ids, message, settle, source, take, to
from tests.kit.support import Bench

RESERVED = "amq.reserved"
_LIMIT_BYTES = 100_000
_SET_LARGEST = "application:set_env(rabbit, max_message_size, {bytes}), persistent_term:put(max_message_size, {bytes})."


@pytest.fixture
async def small(rabbitmq: Node) -> AsyncIterator[Node]:
    """The broker while it takes only small messages."""
    await rabbitmq.wait_ctl("eval", _SET_LARGEST.format(bytes=_LIMIT_BYTES))
    yield rabbitmq
    await rabbitmq.wait_ctl("eval", _SET_LARGEST.format(bytes=1 << 27))


async def test_a_queue_that_may_not_be_made_is_refused(rabbitmq: Node) -> None:
    async with open_rabbitmq(rabbitmq.fresh_url()) as store:
        with pytest.raises(RefusedError, match="ACCESS_REFUSED"):
            await store.publish(to(RESERVED, message()))


async def test_a_message_that_is_too_large_is_refused_and_its_neighbours_are_not(small: Node) -> None:
    queue = fresh()
    async with open_rabbitmq(small.fresh_url()) as store:
        await fill(store, queue, 1)
        neighbours = [message() for _ in range(5)]
        large = message(b"x" * (_LIMIT_BYTES + 1))
        with pytest.raises(RefusedError, match="larger than"):
            await store.publish(to(queue, *neighbours[:3], large, *neighbours[3:]))
        found = await store.browse(queue, 20)
        assert {each.message.id for each in found} >= set(ids(neighbours))
        assert large.id not in {each.message.id for each in found}


async def test_a_refusal_that_breaks_the_connection_is_told_as_one(small: Node) -> None:
    """What is still on its way on the channel that the refusal has closed, the broker answers by closing everything."""
    queue = fresh()
    async with open_rabbitmq(small.fresh_url()) as store:
        await fill(store, queue, 1)
        for _ in range(5):
            neighbours = [message(b"x" * (_LIMIT_BYTES // 5)) for _ in range(60)]
            large = message(b"x" * (_LIMIT_BYTES + 1))
            with pytest.raises(RefusedError, match="larger than"):
                await store.publish(to(queue, *neighbours[:20], large, *neighbours[20:]))
        before = (await store.statistics(queue)).ready
        await fill(store, queue, 1)
        assert (await store.statistics(queue)).ready == (before or 0) + 1


async def test_a_refused_output_leaves_all_that_were_to_be_settled_leased(rabbitmq: Node) -> None:
    origin = source(fresh())
    async with open_rabbitmq(rabbitmq.fresh_url()) as store:
        await fill(store, origin.queue, 2)
        async with store.consume(origin, prefetch=2) as consumer:
            first, second = await take(consumer, 2)
            with pytest.raises(RefusedError, match=RESERVED):
                await store.settle(
                    [Settlement(first, Ack(), tuple(to(RESERVED, message()))), Settlement(second, Ack())]
                )
            assert (await store.statistics(origin.queue)).running == 2
            await settle(store, [first, second])
        assert (await store.statistics(origin.queue)).ready == 0


async def test_a_handler_that_sends_what_is_refused_holds_up_nobody(rabbitmq: Node, bench: Bench) -> None:
    queue, bills = fresh(), fresh("bills")
    url = rabbitmq.fresh_url()
    spec = bench.spec("queue", "sends")
    async with working(bench, lambda: open_rabbitmq(url), spec, trigger(queue, slots=1)) as running:
        await running.send(queue, {"send": [[RESERVED, "a"]]}, {"send": [[bills, "b"]]})
        await running.settled(2)
        [letter] = await running.dead(queue, 1)
        assert [each.message.body for each in await drain(running.store, bills, 1)] == [b"b"]
    assert letter.headers[REASON] == "Unroutable"
    assert "ACCESS_REFUSED" in letter.headers[LAST_ERROR]
    assert len(running.reports) == 2, "each ran once"


async def test_of_a_batch_only_the_message_dies_whose_output_is_refused(rabbitmq: Node, bench: Bench) -> None:
    queue, bills = fresh(), fresh("bills")
    url = rabbitmq.fresh_url()
    batches = trigger(queue, slots=1, batch=3, batch_window_s=5.0)
    async with working(bench, lambda: open_rabbitmq(url), bench.spec("queue", "sends_each"), batches) as running:
        sent = await running.send(queue, bills, RESERVED, bills)
        await running.settled(3)
        [letter] = await running.dead(queue, 1)
        told = sorted(each.message.body.decode() for each in await drain(running.store, bills, 2))
        await running.wait_left(queue)
    assert letter.id == sent[1]
    assert told == sorted([sent[0], sent[2]])


async def test_a_dead_letter_that_is_refused_keeps_its_message(rabbitmq: Node) -> None:
    """Only outputs may be given up; of this the operator is told until the dead letter queue can be used."""
    url, queue = rabbitmq.fresh_url(), fresh()
    vhost, dead_letter = url.rpartition("/")[2], f"{queue}.dead"
    grant = ("set_permissions", "--vhost", vhost, "guest")
    async with open_rabbitmq(url) as store:
        sent = await fill(store, queue, 1)
        origin = Source(queue=queue, function="f", dead_letter=dead_letter)
        async with store.consume(origin, prefetch=1) as consumer:
            deliveries = await take(consumer)
            # What a channel was once allowed to write, RabbitMQ lets it write on; making the queue anew it refuses.
            await rabbitmq.wait_queue_deleted(vhost, dead_letter)
            await rabbitmq.wait_ctl(*grant, "^$", "^$", ".*")
            with pytest.raises(StoreError, match="ACCESS_REFUSED") as caught:
                await settle(store, deliveries, Dead("Rejected", "no"))
            assert not isinstance(caught.value, RefusedError)
            assert (await store.statistics(queue)).running == 1
            await rabbitmq.wait_ctl(*grant, ".*", ".*", ".*")
            await settle(store, deliveries, Dead("Rejected", "no"))
        assert [letter.id for letter in await browsed(store, dead_letter, 1)] == sent


async def test_a_dead_letter_queue_that_cannot_be_is_told_at_the_start(rabbitmq: Node) -> None:
    origin = Source(queue=fresh(), function="f", dead_letter=RESERVED)
    async with open_rabbitmq(rabbitmq.fresh_url()) as store:
        with pytest.raises(RefusedError, match="ACCESS_REFUSED"):
            await store.consume(origin, prefetch=1).__aenter__()
