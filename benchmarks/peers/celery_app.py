"""The trivial handler for Celery: settings as for work that must not be lost (acks_late), prefork, two processes."""

import os

from celery import Celery
from latency import note

app = Celery("bench", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=128,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_default_queue="bench",
)


@app.task(name="bench.handle")
def handle(message):
    note(message)
