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


def exits():
    os._exit(3)


def grows():
    held = bytearray(64 * 1024 * 1024)
    held[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(held[:: os.sysconf("SC_PAGE_SIZE")])
    hangs()


def needs_database():
    if not os.path.exists(os.environ["DATABASE"]):
        raise ConnectionError("no database today")


def hangs():
    while True:
        pass
