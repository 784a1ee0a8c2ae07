"""Async handlers that run several calls at once in one instance."""

import asyncio
import logging
import os
import stat
import struct
import threading
import time

inside = {"calls": 0, "most": 0}


async def meets(event):
    """Waits until as many calls are inside as the event's data says; returns the most that were inside at once."""
    inside["calls"] += 1
    inside["most"] = max(inside["most"], inside["calls"])
    while inside["most"] < event["data"]:
        await asyncio.sleep(0.001)
    inside["calls"] -= 1
    return inside["most"]




async def late(event):
    """Outlives its deadline: `obeys`, or ignores its cancellation in one of two places."""
    await {"obeys": obeys, "here": ignores_here, "there": ignores_there}[event["data"]]()


async def obeys():
    await asyncio.sleep(1000)


async def ignores_here():
    await ignore()


async def ignores_there():
    await ignore()


async def ignore():
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            continue


async def blocks(event):
    """Waits, or blocks the event loop until the process is killed."""
    if event["data"] == "block":
        time.sleep(1000)
    await asyncio.sleep(1000)


async def writes(event, context):
    """Once all three calls are inside, writes by all means, each line with the event's data."""
    name = event["data"]
    await meets({"data": 3})
    print(f"{name} prints")
    logging.warning("%s logs", name)
    context.log.info("%s logs by the context", name, extra={"name_of_call": name})
    print(f"{name} first\n{name} second")
    await asyncio.gather(asyncio.create_task(prints_later(name)), asyncio.to_thread(print, f"{name} in a thread"))
    thread = threading.Thread(target=print, args=(f"{name} in a thread of its own",))
    thread.start()
    await asyncio.to_thread(thread.join)
    if (child := os.fork()) == 0:
        print(f"{name} in a child")
        os._exit(0)
    await asyncio.to_thread(os.waitpid, child, 0)
    os.write(1, f"{name} by the system\n".encode())
    inside["done"] = inside.get("done", 0) + 1
    while inside["done"] < 3:
        await asyncio.sleep(0.001)
    print(f"{name} without an end", end="")


async def prints_later(name):
    await asyncio.sleep(0.01)
    print(f"{name} in a task")


async def floods(event):
    """Once both calls are inside, one writes far more than its limit, and the other one line."""
    await meets({"data": 2})
    for n in range(event["data"]):
        print(f"{n:06}")
        if n % 100 == 0:
            await asyncio.sleep(0)


async def fails_hard(event):
    """Once both calls are inside, runs out of memory, or sends a frame that no call asked for, or waits."""
    await meets({"data": 2})
    match event["data"]:
        case "memory":
            raise MemoryError
        case "head":
            head = b'{"t":"head","i":1}'
            os.write(socket_of_calls(), struct.pack(">II", len(head), 0) + head)
    await asyncio.sleep(1000)


def socket_of_calls():
    """The only socket that is no pair of the event loop's: it was inherited."""
    return next(fd for fd in range(3, 100) if is_socket(fd))


def is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
