"""Leaves at its import what LEAVE says, and says in its handlers what has become of that."""

import asyncio
import fcntl
import logging
import mmap
import multiprocessing
import os
import random
import selectors
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from multiprocessing import shared_memory

WHAT = os.environ["LEAVE"]
FOLDER = os.environ.get("SHARED", "/nowhere")
held = {}


def loop():
    held["loop"] = asyncio.new_event_loop()


def current_loop():
    held["loop"] = asyncio.new_event_loop()
    asyncio.set_event_loop(held["loop"])


def selector():
    globals()["SELECTOR"] = selectors.DefaultSelector()


def closed_loop():
    asyncio.run(asyncio.sleep(0))


def connection():
    held["server"] = socket.create_server(("127.0.0.1", 0))
    held["client"] = socket.create_connection(held["server"].getsockname())


def listener():
    held["server"] = socket.create_server(("127.0.0.1", 0))


def datagrams():
    held["client"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    held["client"].connect(("127.0.0.1", 8125))


def pipe():
    held["pipe"] = os.pipe()


def eventfd():
    held["eventfd"] = os.eventfd(0)


def pidfd():
    held["pidfd"] = os.pidfd_open(os.getpid())


def database():
    held["db"] = sqlite3.connect(os.path.join(FOLDER, "a.db"))


def memory_database():
    held["db"] = sqlite3.connect(":memory:")


def helper():
    held["helper"] = subprocess.Popen(["sleep", "1000"])


def ended_helper():
    subprocess.run(["true"], check=True)


def scratch():
    held["file"] = tempfile.TemporaryFile()


def reader():
    held["file"] = open(os.path.join(FOLDER, "numbers"), "rb", buffering=0)


def writer():
    held["file"] = open(os.path.join(FOLDER, "lines"), "w")
    held["file"].write("import\n")


def log_file():
    held["handler"] = logging.FileHandler(os.path.join(FOLDER, "lines"))


def lock_file():
    held["file"] = open(os.path.join(FOLDER, "lock"), "w")


def held_lock():
    held["file"] = open(os.path.join(FOLDER, "lock"), "a+")
    fcntl.flock(held["file"], fcntl.LOCK_EX)


def lock():
    held["lock"] = multiprocessing.get_context("fork").Lock()


def thread_lock():
    held["lock"] = threading.Lock()
    held["lock"].acquire()


def nested_lock():
    held["lock"] = threading.RLock()
    held["lock"].acquire()


def process_lock():
    lock()
    held["lock"].acquire()


def free_locks():
    held["locks"] = [threading.Lock(), threading.RLock(), threading.Condition()]
    with held["locks"][0], held["locks"][1], held["locks"][2]:
        pass


def segment():
    held["segment"] = shared_memory.SharedMemory(create=True, size=100)


def mapping():
    held["map"] = mmap.mmap(-1, 100)


def devices():
    held["files"] = [open("/dev/urandom", "rb"), open("/dev/null", "r+b")]


def strange_objects():
    """What a look at all objects must survive. A descriptor has to be named, so that all are looked at."""

    class Meta(type):
        __hash__ = None

        def __getattr__(cls, name):
            raise RuntimeError(name)

    class Strange(metaclass=Meta):
        @property
        def __class__(self):
            raise RuntimeError("not to be asked")

        def fileno(self):
            return []

    class Dice(random.Random):
        @property
        def seed(self):
            if held:
                raise RuntimeError("not to be seeded")
            return super().seed

    class Mutex(type(threading.RLock())):
        def __repr__(self):
            raise RuntimeError("not to be shown")

    globals()[1] = "not a name"
    held["strange"] = [Dice(), Strange(), Strange, Mutex()]
    datagrams()


def nothing():
    pass


globals()[WHAT]()


def handler(event):
    return os.getppid()


def runs_in_loop(event):
    """Uses the loop as most do, so that a wake-up that another takes is missed."""

    async def work():
        for _ in range(5):
            await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.002)
        return os.getpid()

    return held["loop"].run_until_complete(work())


def reads(event):
    """Ten times the whole file from its start."""
    found = set()
    for _ in range(10):
        held["file"].seek(0)
        found.add(b"".join(held["file"].read(1) for _ in range(30)).decode())
    return sorted(found)


def writes(event):
    for n in range(20):
        held["file"].write(f"{os.getpid()} {n}\n")
        held["file"].flush()
    return os.getpid()


def locks(event):
    """Whether nobody else holds the lock; then it is held until the event's file is there."""
    try:
        fcntl.flock(held["file"], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    while not os.path.exists(event["data"]):
        time.sleep(0.01)
    return True
