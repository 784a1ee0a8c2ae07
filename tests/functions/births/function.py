"""Handlers that tell how their process began and ends."""

import atexit
import contextvars
import os
import resource
import signal

calls = 0
seen = contextvars.ContextVar("seen", default=0)


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def handler(event, context):
    """How many page faults it took from the beginning of this call, in which the last one ended, to this point."""
    global calls
    calls += 1
    token = seen.set(seen.get() + 1)
    if calls == 1:
        assert seen.get() == 1
        assert token.old_value is token.MISSING
    return {"calls": calls, "start": context.start_kind, "faults": faults()}


def waits(event):
    signal.pause()


def leaves(event):
    """Does something to its private folder; which one it is."""
    home = os.environ["HOME"]
    if event["data"] == "a file":
        open(os.path.join(home, "file"), "w").close()
    elif event["data"] == "its mode":
        os.chmod(home, 0o755)
    return home


async def asynchronous(event, context):
    return handler(event, context)


def stop():
    print("stopped", calls)
    atexit.register(print, "at exit")


def ends_third_fork():
    """The template ends itself instead of forking a third time."""
    forks = []
    fork = os.fork

    def counting():
        forks.append(1)
        if len(forks) == 3:
            os._exit(3)

    os.register_at_fork(before=counting)


def refuses_second_fork():
    """Every second fork fails for want of processes, as long as this limit counts them."""
    limits = resource.getrlimit(resource.RLIMIT_NPROC)
    turns = []

    def alternating():
        turns.append(1)
        resource.setrlimit(resource.RLIMIT_NPROC, (1 if len(turns) % 2 == 0 else limits[0], limits[1]))

    os.register_at_fork(before=alternating)
