"""RabbitMQ goes away under load in every way there is, and nothing is lost."""

import asyncio

import pytest

from bus.rabbitmq import open_rabbitmq
from bus.store import StoreError
from tests.kit.broker import Node
from tests.kit.proxy import proxy_to
from tests.kit.rounds import rounds
from tests.kit.stores import fill, fresh, message, source, to
from tests.kit.support import until
from tests.kit.traffic import traffic

pytestmark = pytest.mark.any_user


async def test_the_broker_is_killed(rabbitmq: Node) -> None:
    """After a restart, which writes the broker's own list of its queues to the disk.

    RabbitMQ 3.10 alone on its own seems to know for some seconds in memory only where the files of a new quorum queue
    are: killed then, it loses what that queue holds, confirmed or not. No client can keep it from that.
    """
    async with open_rabbitmq(rabbitmq.fresh_url()) as store, traffic(store, source(fresh()), faults=2) as flow:
        await rabbitmq.wait_restart()
        await flow.wait_consuming()
        await flow.wait_flowing()
        rabbitmq.kill()
        try:
            await until(lambda: not store.is_connected)
            await until(lambda: not any(consumer.is_consuming for consumer in flow.consumers))
        finally:  # other tests want it too
            rabbitmq.start_nowait()
            await rabbitmq.wait_ready()
        await flow.wait_consuming()


async def test_the_broker_is_restarted_several_times(rabbitmq: Node) -> None:
    times = rounds(2, 5)
    async with open_rabbitmq(rabbitmq.fresh_url()) as store, traffic(store, source(fresh()), faults=times) as flow:
        for _ in range(times):
            await rabbitmq.wait_restart()
            await flow.wait_consuming()
            await flow.wait_flowing()


async def test_the_broker_closes_all_connections(rabbitmq: Node) -> None:
    async with open_rabbitmq(rabbitmq.fresh_url()) as store, traffic(store, source(fresh())) as flow:
        await rabbitmq.wait_connections_closed()
        await flow.wait_consuming()


async def test_the_network_is_cut(rabbitmq: Node) -> None:
    async with proxy_to(rabbitmq.port) as proxy:
        url = rabbitmq.fresh_url().replace(f":{rabbitmq.port}/", f":{proxy.port}/")
        async with open_rabbitmq(url) as store, traffic(store, source(fresh())) as flow:
            before = proxy.connections
            proxy.cut()
            await until(lambda: not store.is_connected)
            async with asyncio.timeout(10):  # each waits a while for the connection, not one after the other
                refused = await asyncio.gather(*(fill(store, fresh(), 1) for _ in range(20)), return_exceptions=True)
            assert {type(error) for error in refused} == {StoreError}
            assert all("there is no connection" in str(error) for error in refused)
            proxy.mend()
            await flow.wait_consuming()
            assert proxy.connections == before + 2


@pytest.mark.parametrize("delay_s", [0.0, 60.0])
async def test_who_sends_as_the_network_is_cut_waits_beside_the_others(rabbitmq: Node, delay_s: float) -> None:
    """That the connection is lost is seen only when they stand in line for what is done by one at a time."""
    async with proxy_to(rabbitmq.port) as proxy:
        url = rabbitmq.fresh_url().replace(f":{rabbitmq.port}/", f":{proxy.port}/")
        async with open_rabbitmq(url) as store:
            proxy.cut()
            sends = [store.publish(to(fresh(), message(), delay_s=delay_s)) for _ in range(20)]
            async with asyncio.timeout(15):
                refused = await asyncio.gather(*sends, return_exceptions=True)
            assert {isinstance(error, StoreError) for error in refused} == {True}


async def test_the_network_swallows_everything(rabbitmq: Node) -> None:
    """No side closes anything: whether the other is alive has to be asked."""
    async with proxy_to(rabbitmq.port) as proxy:
        url = rabbitmq.fresh_url().replace(f":{rabbitmq.port}/", f":{proxy.port}/")
        # Two faults: what is unconfirmed for 2 s, while all of it may arrive later, is stored once more.
        async with open_rabbitmq(url, confirm_limit_s=2.0) as store, traffic(store, source(fresh()), faults=2) as flow:
            proxy.freeze()
            await until(lambda: not any(consumer.is_consuming for consumer in flow.consumers))
            proxy.mend()
            await flow.wait_consuming()
