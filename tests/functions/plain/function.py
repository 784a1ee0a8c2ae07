"""Handlers that do what handlers do: return, raise, remember."""

import asyncio
import os
import random
import tempfile
import uuid

calls = 0


def handler(event, context):
    """Says who ran it, and how often this process has run it."""
    global calls
    calls += 1
    return {"pid": os.getpid(), "calls": calls, "data": event["data"], "id": context.invocation_id}


async def asynchronous(event, context):
    await asyncio.sleep(0)
    return handler(event, context)


def fails(event):
    raise ValueError("no such order: 17")


def parent(event):
    return {"pid": os.getpid(), "parent": os.getppid()}


def chance(event):
    return [random.random(), str(uuid.uuid4()), os.urandom(8).hex(), next(tempfile._get_candidate_names())]


def echo(event):
    return event["body"]


def measure(event):
    return [len(event["body"]), min(event["body"]), max(event["body"])]


async def ameasure(event):
    return measure(event)


def grows_result(event):
    return b"x" * event["data"]


def scratch(event):
    """A file in the private folder; where it is."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"mine")
    os.makedirs(os.path.join(tempfile.gettempdir(), "deep", "er"))
    os.chmod(os.path.join(tempfile.gettempdir(), "deep"), 0)
    return {"tmpdir": os.environ["TMPDIR"], "home": os.environ["HOME"], "file": file.name}


def sends(event, context):
    context.send("orders", {"n": 1}, delay=2)
    context.publish("news", b"raw")
    context.spawn("other", "text")
    return "sent"


def identity(event):
    return {"uid": os.getuid(), "groups": os.getgroups(), "cwd": os.getcwd(), "umask": os.umask(0o077), "stdin": os.read(0, 10).decode()}


def descriptors(event):
    """What every open descriptor of this instance is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found
