"""Handlers that fork, leave orphans behind, and ask what an instance shares with its siblings."""

import asyncio
import atexit
import contextvars
import ctypes
import os
import random
import subprocess
import sys
import tempfile
import time
import weakref

SEEN = contextvars.ContextVar("SEEN", default="import")
DICE = random.Random()
FOLDER = tempfile.TemporaryDirectory()
HELPER = {}


@atexit.register
def at_exit():
    print(f"exit in {os.getpid()}")


def fails_at_exit():
    atexit.register(lambda: 1 / 0)


def hangs_at_exit():
    atexit.register(time.sleep, 1000)


def falls_out(event):
    """The child leaves the handler in the way that the event names; its parent waits for that, and answers."""
    child = os.fork()
    if child == 0:
        print("in the child")
        if event["data"] == "raises":
            raise ValueError("in the child")
        if event["data"] == "exits":
            sys.exit(3)
        if event["data"] == "says":
            sys.exit("goodbye")
        return {"child": os.getpid()}
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


async def falls_out_later(event):
    """The same in an event loop, which the child goes on using for a while."""
    child = os.fork()
    if child == 0:
        await asyncio.sleep(0.05)
        return {"child": os.getpid()}
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        await asyncio.sleep(0.01)
    return "parent"


def fork_in_hook():
    """The child returns from the hook, as if it were the process to serve."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)


def orphan(event):
    """Leaves a process behind that ends when the event's file is there; its pid."""
    script = f"(while [ ! -e {event['data']} ]; do sleep 0.01; done) >/dev/null 2>&1 & echo $!"
    return int(subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout)


async def async_orphan(event):
    return orphan(event)


def touch(event):
    open(event["data"], "w").close()


def keep_child(event):
    """A child of the module's own, for which a later call waits."""
    HELPER["popen"] = subprocess.Popen(["sh", "-c", "exit 7"])
    HELPER["pid"] = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 8"], {})
    child = os.fork()
    if child == 0:
        os._exit(9)
    HELPER["fork"] = child
    orphan(event)


def wait_child(event):
    statuses = [os.waitpid(HELPER[name], 0)[1] for name in ("pid", "fork")]
    return [HELPER["popen"].wait(), *map(os.waitstatus_to_exitcode, statuses)]


def children(event):
    """keep_child, wait_child, or the states of this process's children, as the event says."""
    if event["data"]["do"] == "keep":
        return keep_child({"data": event["data"]["file"]})
    if event["data"]["do"] == "wait":
        return wait_child(event)
    with open(f"/proc/self/task/{os.getpid()}/children") as listing:
        return [open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] for pid in listing.read().split()]


def remembers(event):
    """What the call before this one has left in the context."""
    before = SEEN.get()
    SEEN.set("a call")
    return before


def chance(event):
    return [DICE.random(), random.random()]


def scratch(event):
    """Whether the folder that the import has made is still there."""
    return os.path.isdir(FOLDER.name)


def finalizers(event):
    weakref.finalize(finalizers, print, f"finalized in {os.getpid()}")


def heap(event):
    """Bytes in use of the C library's heap, which a fork has from its template."""

    class Mallinfo2(ctypes.Structure):
        _fields_ = [(f"field{n}", ctypes.c_size_t) for n in range(10)]

    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2
    return mallinfo2().field7
