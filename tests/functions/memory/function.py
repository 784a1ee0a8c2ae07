"""Handlers that use memory in other ways than in their own heap; the event's data is how many MiB."""

import mmap
import os
import subprocess
import sys
import threading
import time

MIB = 1024 * 1024
HOLD = "import sys, time; held = b'x' * int(sys.argv[1]); print('held', flush=True); time.sleep(1000)"
kept = []


def executed_child(event):
    subprocess.Popen([sys.executable, "-S", "-c", HOLD, str(event["data"] * MIB)])
    time.sleep(20)
    return "unnoticed"


def forked_grandchild(event):
    if os.fork() == 0:
        if os.fork() == 0:
            kept.append(b"x" * (event["data"] * MIB))
        time.sleep(1000)
    time.sleep(20)
    return "unnoticed"


def mapped_memfd(event):
    fd = os.memfd_create("hoard")
    os.ftruncate(fd, event["data"] * MIB)
    hoard = mmap.mmap(fd, event["data"] * MIB)
    for at in range(0, len(hoard), 4096):
        hoard[at] = 1
    time.sleep(20)
    return "unnoticed"


def unmapped_memfd(event):
    fd = os.memfd_create("hoard")
    for _ in range(event["data"]):
        os.write(fd, bytes(MIB))
    time.sleep(20)
    return "unnoticed"


def between_calls(event):
    """A thread that goes on after the answer."""

    def hoard():
        time.sleep(0.1)
        kept.append(b"x" * (event["data"] * MIB))

    threading.Thread(target=hoard, daemon=True).start()
    return os.getpid()


def pool_of_forks(event):
    """What children share with their parent is not theirs."""
    kept.append(b"x" * (event["data"] * MIB))
    children = []
    for _ in range(6):
        if (child := os.fork()) == 0:
            time.sleep(1.5)
            os._exit(0)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]


def threads(event):
    done = threading.Event()
    started = []
    try:
        for _ in range(event["data"]):
            thread = threading.Thread(target=done.wait)
            thread.start()
            started.append(thread)
    finally:
        done.set()
        for thread in started:
            thread.join()
    return len(started)


def at_once(event):
    return len(b"x" * (event["data"] * MIB))


def getpid(event):
    return os.getpid()
