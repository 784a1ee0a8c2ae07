"""Hooks that say where they run."""

import os

seen = {"import": os.getpid()}


def init():
    seen["init"] = os.getpid()


def after_fork():
    seen["after_fork"] = os.getpid()


def stop():
    print(f"stop in {os.getpid()}")


async def async_stop():
    print(f"async stop in {os.getpid()}")


def handler(event):
    return {**seen, "handler": os.getpid()}


async def asynchronous(event):
    return {**seen, "handler": os.getpid()}


def raises():
    raise RuntimeError("no database today")


def hangs():
    while True:
        pass
