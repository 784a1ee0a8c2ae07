"""The waiting handler for FastStream, with as many messages in flight as the others."""

import asyncio
import os
from typing import Any

from faststream import FastStream  # type: ignore[import-not-found]  # only in the peers' own environment
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue  # type: ignore[import-not-found]

broker = RabbitBroker(os.environ["BROKER_URL"], default_channel=Channel(prefetch_count=1000))
app = FastStream(broker)


@broker.subscriber(RabbitQueue("bench", durable=True))  # type: ignore[untyped-decorator]
async def handle(message: dict[str, Any]) -> None:
    await asyncio.sleep(0.1)
