"""What the functions of the day do, whoever runs them: they wait for a moment, as for a database."""

import time
from typing import Any

import pydantic  # type: ignore[import-not-found]  # only in the peers' own environment
import requests  # type: ignore[import-untyped]
import sqlalchemy.orm  # type: ignore[import-not-found]
from latency import note  # type: ignore[import-not-found]  # its folder is on the path

WAIT_S = 0.01
"""Each handler waits so long, as for a database."""
LIBRARIES = (pydantic, requests, sqlalchemy.orm)
"""What many services import: about 44 MiB in each process that loads it by itself."""


def request(_event: Any = None) -> dict[str, bool]:
    time.sleep(WAIT_S)
    return {"done": True}


def message(event: Any) -> None:
    note(event["data"])
    time.sleep(WAIT_S)
