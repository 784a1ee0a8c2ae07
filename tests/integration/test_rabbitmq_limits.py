"""Limits of a broker: permissions are checked at start, and few channels for each connection are enough."""

import contextlib
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.declaration import Declaration
from bus.message import dead_queue, inbox
from bus.rabbitmq import Application, open_rabbitmq
from bus.retry import Dead, Retry
from bus.store import RefusedError, Source, StoreError
from tests.kit.broker import Node
from tests.kit.stores import browsed, fill, fresh, ids, message, settle, source, take, to

OURS = r"^forklight\.shop\..*"
SHOP = Application("shop")
PAGE = Path(__file__).resolve().parents[2] / "docs/rabbitmq.md"
COMMANDS = re.findall(r"^# rabbitmqctl ((?:.*\\\n)*.*)", PAGE.read_text(), re.MULTILINE)


@contextlib.asynccontextmanager
async def least(node: Node, url: str, configure: str, write: str, read: str) -> AsyncIterator[str]:
    """Return the URL of a user with these permissions."""
    vhost, name = url.rpartition("/")[2], fresh("user")
    await node.wait_ctl("add_user", name, "secret")
    await node.wait_ctl("set_permissions", "--vhost", vhost, name, configure, write, read)
    yield url.replace("guest:guest", f"{name}:secret")
    await node.wait_ctl("delete_user", name)


async def test_the_documented_permissions_are_enough(rabbitmq: Node) -> None:
    url = rabbitmq.fresh_url()
    async with open_rabbitmq(url, SHOP) as store:
        sent = await fill(store, "orders", 2)
    write = r"^(forklight\.shop\..*|amq\.default)$"
    async with least(rabbitmq, url, OURS, write, r"^(forklight\.shop\..*|orders)$") as url:
        origin = Source(queue="orders", function="f", dead_letter=dead_queue("f"))
        async with open_rabbitmq(url, SHOP) as store, store.consume(origin, prefetch=1) as consumer:
            [first] = await take(consumer)
            await settle(store, [first], Retry(0.1, "again"))
            for _ in sent:
                await settle(store, await take(consumer), Dead("Rejected", "no"))
            assert len(await browsed(store, dead_queue("f"), 2)) == len(sent)
            await store.publish(to(inbox("f"), message(), delay_s=0.1))


async def test_the_commands_of_the_page_give_enough(rabbitmq: Node) -> None:
    for command in COMMANDS:
        words = shlex.split(command.replace("\\\n", " "))
        await rabbitmq.wait_ctl(*words, *(["secret"] if words[0] == "add_user" else []))
    assert len(COMMANDS) == 3
    url = rabbitmq.url("shop").replace("guest:guest", "forklight-shop:secret")
    origin = Source(queue="orders", function="f", dead_letter=dead_queue("f"))
    declarations = {"bills": Declaration(type="classic")}
    async with (
        open_rabbitmq(url, SHOP, declarations=declarations) as store,
        store.consume(origin, prefetch=1) as consumer,
    ):
        await fill(store, "orders", 1)
        await settle(store, await take(consumer), Retry(0.1, "again"))
        await settle(store, await take(consumer), Dead("Rejected", "no"))
        await store.publish([*to("bills", message()), *to("bills", message(), delay_s=0.1)])
    await rabbitmq.wait_ctl("set_permissions", "-p", "shop", "guest", ".*", ".*", ".*")
    async with open_rabbitmq(rabbitmq.url("shop"), SHOP) as store:  # whose user may read what it only sends to
        await browsed(store, "bills", 2)


@pytest.mark.parametrize(
    ("rights", "said"),
    [
        (("^$", ".*", ".*"), "access to queue 'forklight.shop.claim'"),
        ((".*", OURS, ".*"), "access to exchange 'amq.default'"),
        ((".*", ".*", "^orders$"), "access to queue 'forklight.shop.claim"),
    ],
    ids=["configure", "write", "read"],
)
async def test_missing_permissions_are_reported_at_start(
    rabbitmq: Node, rights: tuple[str, str, str], said: str
) -> None:
    async with least(rabbitmq, rabbitmq.fresh_url(), *rights) as url:
        with pytest.raises(RefusedError) as raised:
            await open_rabbitmq(url, SHOP).__aenter__()
    assert said in str(raised.value)
    assert "must be allowed to configure, write and read ^forklight" in str(raised.value)


async def test_a_queue_that_may_not_be_read_is_reported_at_start(rabbitmq: Node) -> None:
    async with least(rabbitmq, rabbitmq.fresh_url(), ".*", ".*", OURS) as url, open_rabbitmq(url, SHOP) as store:
        with pytest.raises(StoreError, match="access to queue 'orders'"):
            await store.consume(source("orders"), prefetch=1).__aenter__()


async def test_few_channels_for_a_connection_are_enough(rabbitmq: Node) -> None:
    await rabbitmq.wait_ctl("eval", "application:set_env(rabbit, channel_max, 8).")
    try:
        async with open_rabbitmq(rabbitmq.fresh_url()) as store, contextlib.AsyncExitStack() as stack:
            sources = [source(fresh()) for _ in range(12)]
            consumers = [await stack.enter_async_context(store.consume(one, prefetch=1)) for one in sources]
            sent = [await fill(store, one.queue, 1) for one in sources]
            assert [ids(await take(one)) for one in consumers] == sent
            assert store.is_connected
    finally:
        await rabbitmq.wait_ctl("eval", "application:set_env(rabbit, channel_max, 2047).")
