"""The queue trigger: messages become events, outcomes settle them.

In reading order:

- `consumer.py`: the life of a consumer, and its theory of operation
- `work.py`: takes a message, runs it and settles it; `batches.py`: the same for several at once
- `settler.py`: settles messages and reports them
- `codec.py`: a message becomes an event, several become a batch
- `settling.py`: decides about batches, and about messages that do not run
- `pace.py`: when a consumer pauses
- `settings.py`: the settings of one queue

- `cloudevents.py`: the CloudEvent that a message may carry
- `celery.py`: when a task of Celery may run
- `headers.py`: AMQP headers as JSON
- `packing.py`: how a body is compressed
- `errors.py`: a message that no handler can get
"""

from triggers.queue.consumer import ConsumerStatistics, QueueConsumer
from triggers.queue.settings import QueueTrigger

__all__ = ["ConsumerStatistics", "QueueConsumer", "QueueTrigger"]
