"""The store over RabbitMQ, through aio-pika, which nothing else imports.

In reading order:

- `store.py`: the entrance: `bus.store.Store` for one virtual host
- `names.py`: names of Forklight's queues and exchanges on the broker
- `address.py`: checks the broker's URL, and names it without its password
- `link.py`: one connection, reopened whenever it is lost
- `links.py`: the connections that consumers share
- `topology.py`: uses existing queues and exchanges as they are, and makes missing ones
- `application.py`: who the broker's names belong to
- `rights.py`: checks the permissions of the broker's user at start
- `claim.py`: running nodes hold the application's name

- `publisher.py`: confirmed publishing
- `letters.py`: AMQP messages, and their copies for retries and dead letters
- `fields.py`: header values of every AMQP type, without loss
- `delays.py`: the ladder of queues that delays messages
- `undelivered.py`: delayed messages whose queue is gone

- `reading.py`: the deliveries of a connection, cut out of its bytes
- `consumer.py`: a consumer that outlives connections, channels and queues
- `session.py`: one channel of a consumer, and the messages taken through it
- `signals.py`: which event wakes whom
- `lanes.py`: from which of its two queues a consumer takes
- `places.py`: how many messages a consumer may hold
- `expected.py`: which retries are due, and which messages were held for too long

- `looking.py`: reading queues without consuming them
- `old.py`: queues of version 0.1

The store is imported when it is first asked for: aio-pika takes 35 ms, and most servers have no broker.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bus.rabbitmq.application import Application
from bus.rabbitmq.names import safe as safe_name

if TYPE_CHECKING:
    from bus.rabbitmq.store import RabbitStore, open_rabbitmq, reach

__all__ = ["Application", "RabbitStore", "open_rabbitmq", "reach", "safe_name"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("bus.rabbitmq.store"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
