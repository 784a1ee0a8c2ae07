"""The store over RabbitMQ, through aio-pika, which nothing else imports. `store` is its face."""

from bus.rabbitmq.claim import Application
from bus.rabbitmq.names import safe as safe_name
from bus.rabbitmq.store import RabbitStore, open_rabbitmq, reach

__all__ = ["Application", "RabbitStore", "open_rabbitmq", "reach", "safe_name"]
