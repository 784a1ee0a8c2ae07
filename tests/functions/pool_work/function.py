"""Handlers whose end a test decides: each waits for a byte of the FIFO that its event names."""

import os


def handler(event):
    return os.getpid()


def held(event):
    with open(event["data"], "rb", buffering=0) as gate:
        gate.read(1)
    return os.getpid()


def exits(event):
    os._exit(3)


def by_key(event):
    with open(event["data"]["gate"], "rb", buffering=0) as gate:
        gate.read(1)
    return os.getpid()
