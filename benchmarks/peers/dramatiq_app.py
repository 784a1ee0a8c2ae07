"""The trivial handler for Dramatiq: its defaults, two processes of eight threads."""

import os
from typing import Any

import dramatiq  # type: ignore[import-not-found]  # only in the peers' own environment
from dramatiq.brokers.rabbitmq import RabbitmqBroker  # type: ignore[import-not-found]
from latency import note  # type: ignore[import-not-found]  # its folder is on the path

dramatiq.set_broker(RabbitmqBroker(url=os.environ["BROKER_URL"]))


@dramatiq.actor(queue_name="bench")  # type: ignore[untyped-decorator]
def handle(message: dict[str, Any]) -> None:
    note(message)
