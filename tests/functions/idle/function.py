"""Leaves garbage that only the collector finds, and says when it has been found."""

import os


class Cycle:
    def __init__(self):
        self.itself = self
        self.content = bytearray(4 * 1024 * 1024)

    def __del__(self):
        print(f"collected in {os.getpid()}")


def litter(event=None):
    if event is None or event["data"] != "nothing":
        Cycle()
    return os.getpid()


async def litter_later(event):
    return litter()


def after_fork():
    litter()
