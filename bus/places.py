"""Queues and their stores as users write them: `orders` of the bus's own store, `orders@shop` of a broker."""

from collections.abc import Collection


def join_place(queue: str, broker: str) -> str:
    """Return `orders@shop`, or `orders` if there is no broker's name."""
    return f"{queue}@{broker}" if broker else queue


def split_place(name: str, brokers: Collection[str]) -> tuple[str, str]:
    """Split `orders@shop` into (orders, shop) if there is such a broker; else the whole name is a queue of the bus."""
    queue, at, broker = name.rpartition("@")
    return (queue, broker) if at and broker in brokers else (name, "")
