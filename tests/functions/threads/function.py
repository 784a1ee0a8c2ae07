"""Leaves a thread alive after its import, and 16 MiB."""

import os
import threading

ballast = b"x" * (16 * 1024 * 1024)
stop = threading.Event()
beats = 0


def beat():
    global beats
    while not stop.wait(0.001):
        beats += 1


threading.Thread(target=beat, name="heart", daemon=True).start()


def handler(event):
    before = beats
    while beats == before:
        stop.wait(0.001)
    return {"pid": os.getpid(), "parent": os.getppid()}


async def asynchronous(event):
    return handler(event)
