"""Handlers that hold memory and use processor time."""

import time

kept = []


def hold(event):
    """MiB, until the process ends."""
    kept.append(b"x" * (event["data"] * 1024 * 1024))


def burn(event):
    """Nanoseconds of processor time."""
    while time.process_time_ns() < event["data"]:
        pass
