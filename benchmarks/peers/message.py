"""The trivial handler for Forklight."""

from typing import Any

from latency import note  # type: ignore[import-not-found]  # its folder is on the path


def handle(event: dict[str, Any]) -> None:
    note(event["data"])
