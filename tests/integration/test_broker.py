"""The tests' own RabbitMQ, and the proxy before it."""

import asyncio

import aio_pika
import pytest

from tests.kit.broker import Node
from tests.kit.proxy import proxy_to
from tests.kit.support import until


@pytest.mark.ordinary_user
async def test_each_virtual_host_is_empty(rabbitmq: Node) -> None:
    urls = [rabbitmq.fresh_url(), rabbitmq.fresh_url()]
    assert urls[0] != urls[1]
    for url in urls:
        async with await aio_pika.connect(url) as connection, connection.channel() as channel:
            queue = await channel.declare_queue("same")
            await channel.default_exchange.publish(aio_pika.Message(b""), "same")
            assert queue.declaration_result.message_count == 0


async def test_a_proxy_is_cut_and_mended(rabbitmq: Node) -> None:
    async with proxy_to(rabbitmq.port) as proxy:
        url = rabbitmq.fresh_url().replace(f":{rabbitmq.port}/", f":{proxy.port}/")
        connection = await aio_pika.connect(url)
        proxy.cut()
        await until(lambda: connection.is_closed or connection.connected.is_set() is False)
        with pytest.raises(aio_pika.exceptions.AMQPConnectionError):
            await aio_pika.connect(url)
        proxy.mend()
        async with await aio_pika.connect(url):
            assert proxy.connections == 2
        proxy.freeze()
        with pytest.raises(asyncio.TimeoutError):
            await aio_pika.connect(url, timeout=0.1)
