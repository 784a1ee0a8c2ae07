"""Handlers of messages: what each does is in its event's data."""

import os
import time


def echo(event, context):
    """What a handler sees, but for its body."""
    seen = {name: value for name, value in event.items() if name != "body"}
    return seen | {"context": [context.invocation_id, context.attempt]}


def picky(event, context):
    """Fails on `bad`, telling each attempt; the two ways to ask for more or for less."""
    data = event["data"]
    if data == "bad":
        raise ValueError(f"attempt {context.attempt}")
    if data == "again" and context.attempt == 1:
        context.retry(after=0.01)
    if data == "never":
        context.reject("not an order")
    return data


def sends(event, context):
    """Sends and spawns what it is told, then fails if it is told to."""
    data = event["data"]
    if "queue" not in event:
        return data
    for name, each in data.get("send", []):
        context.send(name, each, headers={"x-order": "17"})
    for each in data.get("spawn", []):
        context.spawn("f", each, id=f"spawned-{each}")
    if data.get("fail"):
        raise ValueError("told to")
    return "sent"


def loops(event, context):
    """Sends to its own queue for ever."""
    context.send(event["queue"]["name"], event["data"])


def batched(event, context):
    """Fails for the items that are `bad`, and tells their number."""
    ids = [item["id"] for item in event["data"] if item["data"] == "bad"]
    context.send(f"sizes-of-{event['queue']['name']}", [item["id"] for item in event["data"]])
    return {"failures": ids}


def sends_each(event, context):
    """Sends to the queue that each item names."""
    for item in event["data"]:
        context.send(item["data"], item["id"])


def rejects_batch(event, context):
    """Rejects the whole batch for one bad item in it."""
    if any(item["data"] == "bad" for item in event["data"]):
        context.reject("there is a bad one")


def breaks_batch(event, context):
    """Raises, or dies, over a whole batch for one bad item in it."""
    found = [item["data"] for item in event["data"]]
    if "bad" in found:
        raise ValueError("there is a bad one")
    if "crash" in found:
        os._exit(11)


def malformed(event):
    """Lists what is not there."""
    return {"failures": ["nobody"]}


def slow(event):
    time.sleep(0.01)
    return event["id"]


def replies(event, context):
    """Answers who asked with what it sees, as a server of remote procedure calls does."""
    asked = event["queue"]
    context.send(
        asked["reply_to"],
        {"data": event["data"], "queue": asked},
        correlation_id=asked["correlation_id"],
        reply_to=asked["name"],
    )
