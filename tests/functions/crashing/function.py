"""Handlers that end their process."""

import ctypes
import os
import resource
import signal
import sys
import time


def exits(event):
    sys.exit(event["data"])


def hard_exit(event):
    os._exit(event["data"])


def signals(event):
    os.kill(os.getpid(), event["data"])
    time.sleep(1000)


def segfaults(event):
    return inner()


def inner():
    return ctypes.string_at(0)


def aborts(event):
    os.abort()


def recurses(event):
    return recurses(event)


def grows(event):
    """Slowly enough to be watched."""
    hoard = bytearray()
    while True:
        hoard += b"x" * (8 * 1024 * 1024)
        time.sleep(0.001)


def asks_for_too_much(event):
    return len(bytearray(1 << 40))


def one_by_one(event):
    """Past the data limit in pieces that are never touched, so that no watcher sees them first."""
    held = []
    while True:
        held.append(bytearray(64 * 1024 * 1024))


def fails_with_memory(event):
    raise MemoryError


def closes_all(event):
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    time.sleep(1000)


def kills_parent(event):
    os.kill(os.getppid(), signal.SIGKILL)
    return "done"


def replies_then_dies(event):
    """The reply is on its way when the process ends."""
    import threading

    def end():
        while sys._current_frames()[main].f_code.co_name != "read":
            pass
        os._exit(3)

    import threading

    main = threading.main_thread().ident
    threading.Thread(target=end, daemon=True).start()
    return "still good"
