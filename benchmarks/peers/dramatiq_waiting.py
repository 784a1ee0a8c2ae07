"""The waiting handler for Dramatiq: coroutines on one event loop in each process, a thread waits for each."""

import asyncio
import os
from typing import Any

import dramatiq  # type: ignore[import-not-found]  # only in the peers' own environment
from dramatiq.brokers.rabbitmq import RabbitmqBroker  # type: ignore[import-not-found]
from dramatiq.middleware.asyncio import AsyncIO  # type: ignore[import-not-found]

broker = RabbitmqBroker(url=os.environ["BROKER_URL"])
broker.add_middleware(AsyncIO())
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench")  # type: ignore[untyped-decorator]
async def handle(message: dict[str, Any]) -> None:
    await asyncio.sleep(0.1)
