"""The trivial handler for Dramatiq: its defaults, two processes of eight threads."""

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from latency import note

dramatiq.set_broker(RabbitmqBroker(url=os.environ["BROKER_URL"]))


@dramatiq.actor(queue_name="bench")
def handle(message):
    note(message)
