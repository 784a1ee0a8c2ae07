"""The functions of the day that are called by messages, as one Celery application; acks late, as in celery_app.py."""

import os
from typing import Any

from celery import Celery  # type: ignore[import-not-found]  # only in the peers' own environment
from usage_work import message  # type: ignore[import-not-found]  # its folder is on the path

app = Celery("usage", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_default_queue="usage",
)


@app.task(name="usage.call")  # type: ignore[untyped-decorator]
def call(data: dict[str, Any]) -> None:
    message({"data": data})
