"""The trivial handler for Celery: settings as for work that must not be lost (acks late), prefork, two processes."""

import os
from typing import Any

from celery import Celery  # type: ignore[import-not-found]  # only in the peers' own environment
from latency import note  # type: ignore[import-not-found]  # its folder is on the path

app = Celery("bench", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=128,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_default_queue="bench",
)


@app.task(name="bench.handle")  # type: ignore[untyped-decorator]
def handle(message: dict[str, Any]) -> None:
    note(message)
