"""The queue trigger: messages become events, outcomes settle them. Read `consumer.py` first, then `codec.py`."""

from triggers.queue.consumer import ConsumerStatistics, QueueConsumer
from triggers.queue.settings import QueueTrigger

__all__ = ["ConsumerStatistics", "QueueConsumer", "QueueTrigger"]
