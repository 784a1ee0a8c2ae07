"""Applications that share a virtual host do not get each other's calls, and cannot take each other's names."""

import asyncio
import contextlib

import aio_pika
import pytest

from bus.message import dead_queue, inbox
from bus.rabbitmq import Application, open_rabbitmq
from bus.retry import Retry
from bus.store import RefusedError, Source, Store
from tests.kit.broker import Node, foreign
from tests.kit.stores import browsed, drain, fill, ids, settle, take
from tests.kit.support import until

SHOP = Application("shop", "/srv/shop/forklight.toml", "1")


def of(function: str) -> Source:
    return Source(queue=inbox(function), function=function, dead_letter=dead_queue(function))


async def queues_of(node: Node, url: str) -> set[str]:
    listed = await node.wait_ctl("list_queues", "--vhost", url.rpartition("/")[2], "name", "--no-table-headers")
    return {name for name in listed.split() if ".claim" not in name}


async def test_functions_of_the_same_name_get_their_own_calls(rabbitmq: Node) -> None:
    url = rabbitmq.fresh_url()
    async with open_rabbitmq(url, SHOP) as shop, open_rabbitmq(url, Application("billing")) as billing:
        to_shop, to_billing = await fill(shop, inbox("mail"), 5), await fill(billing, inbox("mail"), 5)

        async def got(store: Store) -> list[str]:
            async with store.consume(of("mail"), prefetch=9) as consumer:
                taken = await take(consumer, 5)
                await settle(store, taken)
                return ids(taken)

        assert list(await asyncio.gather(got(shop), got(billing))) == [to_shop, to_billing]


@pytest.mark.parametrize(
    "other", [Application("shop", "/srv/other/forklight.toml", "2"), Application("shop", "/srv/shop/b.toml", "")]
)
async def test_another_application_of_the_same_name_is_refused(rabbitmq: Node, other: Application) -> None:
    url = rabbitmq.fresh_url()
    async with open_rabbitmq(url, SHOP):
        with pytest.raises(RefusedError, match=r"another application named 'shop' runs there.* \[bus\] name") as raised:
            await open_rabbitmq(url, other).__aenter__()
        assert "/srv/shop/forklight.toml" in str(raised.value)
        async with open_rabbitmq(url, Application("other", other.path, other.code)):
            pass
    async with open_rabbitmq(url, other):
        pass


@pytest.mark.parametrize("node", [Application("shop", SHOP.path, "2"), Application("shop", "/mnt/forklight.toml", "1")])
async def test_nodes_of_an_application_share_its_name(rabbitmq: Node, node: Application) -> None:
    url = rabbitmq.fresh_url()
    async with open_rabbitmq(url, node), open_rabbitmq(url, SHOP), open_rabbitmq(url, node) as store:
        sent = await fill(store, inbox("f"), 1)
    async with open_rabbitmq(url, node) as store:
        assert ids(await drain(store, inbox("f"), 1)) == sent


@pytest.mark.long_form
async def test_the_name_is_held_through_a_restart_of_the_broker(rabbitmq: Node) -> None:
    url, other = rabbitmq.fresh_url(), Application("shop", "/other", "2")
    async with open_rabbitmq(url, SHOP) as store:
        await rabbitmq.wait_restart()
        await until(lambda: store.is_connected)

        async def refused() -> bool:
            try:
                async with open_rabbitmq(url, other):
                    return False
            except RefusedError:
                return True

        async with asyncio.timeout(20):
            while not await refused():  # noqa: ASYNC110
                await asyncio.sleep(0.5)  # or the other application would hold the name nearly all the time


async def test_queues_of_ours_are_made_when_they_are_needed(rabbitmq: Node) -> None:
    url = rabbitmq.fresh_url()
    async with open_rabbitmq(url, SHOP) as store, contextlib.AsyncExitStack() as stack:
        consumers = [
            await stack.enter_async_context(store.consume(of(f"f{number}"), prefetch=2)) for number in range(10)
        ]
        assert all(each.is_consuming for each in consumers)
        assert await queues_of(rabbitmq, url) == set()
        sent = await fill(store, inbox("f3"), 1)
        [delivery] = await take(consumers[3])
        assert ids([delivery]) == sent
        assert await queues_of(rabbitmq, url) == {"forklight.shop.inbox.f3"}
        await settle(store, [delivery], Retry(0.0, "again"))
        [again] = await take(consumers[3])
        assert (again.attempt, again.queue) == (2, inbox("f3"))
        assert len(await queues_of(rabbitmq, url)) == 2
        await settle(store, [again])


async def test_waiting_retries_are_found_at_start(rabbitmq: Node) -> None:
    url = rabbitmq.fresh_url()
    async with open_rabbitmq(url, SHOP) as store:
        sent = await fill(store, inbox("f"), 1)
        async with store.consume(of("f"), prefetch=1) as consumer:
            await settle(store, await take(consumer), Retry(0.2, "again"))
        async with foreign(url) as other:
            await other.queue_delete("forklight.shop.inbox.f")
    async with open_rabbitmq(url, SHOP) as store, store.consume(of("f"), prefetch=1) as consumer:
        assert ids(await take(consumer)) == sent


async def test_queues_of_version_0_1_are_reported(rabbitmq: Node, caplog: pytest.LogCaptureFixture) -> None:
    url = rabbitmq.fresh_url()
    async with foreign(url) as other, open_rabbitmq(url, SHOP) as store:
        await other.declare_queue(inbox("f"), durable=True)
        await other.default_exchange.publish(aio_pika.Message(b"", message_id="old"), inbox("f"))
        async with store.consume(of("f"), prefetch=1) as consumer:
            await until(lambda: "has 1 messages" in caplog.text and "[bus] adopt = true" in caplog.text)
            assert consumer.next_nowait() is None
        assert (await other.declare_queue(inbox("f"), passive=True)).declaration_result.message_count == 1


async def test_queues_of_version_0_1_are_adopted(rabbitmq: Node) -> None:
    url = rabbitmq.fresh_url()
    old = {name: f"forklight.{name}" for name in ("inbox.f", "dead.f", "retry.f.forklight.inbox.f")}
    async with foreign(url) as other:
        for name, queue in old.items():
            headers: dict[str, str | int] = {"forklight-to": queue, "forklight-attempt": 3}
            await other.declare_queue(queue, durable=True)
            await other.default_exchange.publish(aio_pika.Message(b"", message_id=name, headers=headers), queue)  # type: ignore[arg-type]
        adopting = Application("shop", adopts=True)
        async with open_rabbitmq(url, adopting) as store, store.consume(of("f"), prefetch=1) as consumer:
            got = {}
            for _ in range(2):
                [delivery] = await take(consumer)
                got[delivery.message.id] = delivery.attempt
                await settle(store, [delivery])
            assert got == {"inbox.f": 1, "retry.f.forklight.inbox.f": 3}
            assert [each.id for each in await browsed(store, dead_queue("f"), 1)] == ["dead.f"]
        for queue in old.values():
            assert (await other.declare_queue(queue, passive=True)).declaration_result.message_count == 0
