"""The functions that behave alike in every runtime, in Python."""

import asyncio
import hashlib
import os
import signal
import subprocess
import time

calls = 0


class NoSuchOrder(Exception):
    pass


def measure(event, context):
    return [len(event["body"]), hashlib.sha256(event["body"]).hexdigest()]


def sees(event, context):
    global calls
    calls += 1
    return {
        "calls": calls,
        "pid": os.getpid(),
        "data": event["data"],
        "event": {key: event[key] for key in ("id", "source", "type", "time", "datacontenttype")},
        "caller": event["call"]["caller"],
        "function": context.function,
        "attempt": context.attempt,
        "remaining": 0 < context.remaining_ms() <= 60_000,
        "greeting": os.environ["GREETING"],
    }


def returns(event, context):
    return {
        "object": {"a": [1, 2.5, None, True, "ü"]},
        "list": [1, "two"],
        "number": 7,
        "text": "grüße",
        "nothing": None,
        "bytes": b"\x00\xff",
        "whole": {
            "statusCode": 201,
            "headers": {"X-Name": "value", "Content-Type": "text/css"},
            "cookies": ["a=1", "b=2"],
            "body": "Ym9keQ==",
            "isBase64Encoded": True,
        },
        "impossible": {"statusCode": 99},
        "header": {"statusCode": 200, "headers": {"X-Split": "a\r\nX-Evil: b"}},
    }[event["data"]]


def grows_result(event, context):
    return "x" * event["data"]


def fails(event, context):
    raise NoSuchOrder("no such order: 17")


def rejects(event, context):
    context.reject("never again")


def retries(event, context):
    context.retry(after=7.5)


def sends(event, context):
    context.send("orders", {"n": 1}, delay=2, id="o1", headers={"a": "b"}, correlation_id="c", reply_to="answers")
    context.spawn("ship", "text", id="s1")
    return "sent"


def prints(event, context):
    print(f"out {event['data']}", flush=True)
    os.write(2, f"err {event['data']}\n".encode())
    context.log.warning("log %s", event["data"])


met = None


async def meets(event, context):
    """Waits until another call of this process is as far."""
    global met
    print(f"begin {event['data']}", flush=True)
    if met is None:
        met = asyncio.Event()
        await met.wait()
    else:
        met.set()
    print(f"met {event['data']}", flush=True)
    return os.getpid()


async def waits(event, context):
    print("waiting", flush=True)
    await asyncio.sleep(600)


def spins(event, context):
    print("spinning", flush=True)
    while True:
        pass


def stays(event, context):
    """Ignores what asks it to end, and is not alone."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("child", subprocess.Popen(["sleep", "600"]).pid, flush=True)
    while True:
        time.sleep(1)


def exits(event, context):
    print("last words", flush=True)
    os._exit(event["data"])


def dies(event, context):
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.abort()


def leaves_a_child(event, context):
    return subprocess.Popen(["sleep", "600"]).pid


def hoards(event, context):
    kept = []
    while True:
        kept.append(b"x" * (8 << 20))
        time.sleep(0.01)
