"""The store over RabbitMQ, through aio-pika, which nothing else imports. `store` is its face."""

from bus.rabbitmq.store import RabbitStore, open_rabbitmq

__all__ = ["RabbitStore", "open_rabbitmq"]
