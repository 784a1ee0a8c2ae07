"""The store over RabbitMQ, through aio-pika, which nothing else imports.

In reading order:

- `store.py`: its face: `bus.store.Store` for one virtual host
- `names.py`: what our queues and exchanges are called on the broker
- `address.py`: the broker's URL, checked, and shown without its password
- `link.py`: one connection, made again whenever it is lost
- `links.py`: the connections that consumers share
- `topology.py`: queues and exchanges: used as they are, made where they may be
- `rights.py`: what the broker's user must be allowed, tried at the start
- `claim.py`: the application's name, held by its running nodes

- `publisher.py`: confirmed publishing
- `letters.py`: messages as AMQP has them, and their copies for retries and dead letters
- `fields.py`: header values of every AMQP type, without loss
- `delays.py`: the ladder of queues that delays messages
- `undelivered.py`: delayed messages whose queue has gone

- `consumer.py`: a consumer that outlives connections, channels and queues
- `session.py`: one channel of it, and what it holds
- `lanes.py`: from which of its two queues it takes
- `places.py`: how many messages it may hold
- `expected.py`: which retries are due, and what was held for too long

- `looking.py`: reading queues without consuming them
- `old.py`: queues of version 0.1
"""

from bus.rabbitmq.claim import Application
from bus.rabbitmq.names import safe as safe_name
from bus.rabbitmq.store import RabbitStore, open_rabbitmq, reach

__all__ = ["Application", "RabbitStore", "open_rabbitmq", "reach", "safe_name"]
