"""Where a handler's outputs go: from what it sent and spawned to messages with a queue and a store. Pure."""

from collections.abc import Collection

from bus.event import Event
from bus.message import Outgoing, inbox, output_message
from bus.outcome import Ok, Output

MAX_QUEUE_BYTES = 255
"""Of a queue's name in UTF-8, as AMQP 0-9-1 has it (§3.1.4)."""


class UnroutableError(Exception):
    """An output names what does not exist here, or no store could have; another attempt would end the same."""


def outgoing(outcome: Ok, event: Event, functions: Collection[str], brokers: Collection[str]) -> tuple[Outgoing, ...]:
    """The messages to store with the success of `event`'s invocation. Raises UnroutableError."""
    return tuple(
        _outgoing(output, event, number, functions, brokers) for number, output in enumerate(outcome.outputs, start=1)
    )


def split_queue(name: str, brokers: Collection[str]) -> tuple[str, str]:
    """`orders@shop` → (orders, shop) if there is a broker shop; else the whole name is a queue of the bus's own."""
    queue, at, broker = name.rpartition("@")
    return (queue, broker) if at and broker in brokers else (name, "")


def _outgoing(
    output: Output, event: Event, number: int, functions: Collection[str], brokers: Collection[str]
) -> Outgoing:
    message = output_message(output, event, number)
    if output.kind == "publish":
        raise UnroutableError(f"publish to {output.name!r}: this version has no topics; send to a queue or spawn")
    if output.kind == "spawn":
        if output.name not in functions:
            raise UnroutableError(f"spawn of {output.name!r}: there is no such function here")
        return Outgoing(queue=inbox(output.name), message=message, delay_s=output.delay_s)
    queue, broker = split_queue(output.name, brokers)
    length_bytes = len(queue.encode(errors="replace"))
    if length_bytes == 0:
        raise UnroutableError(f"send to {output.name!r}: the queue has no name")
    if length_bytes > MAX_QUEUE_BYTES:
        raise UnroutableError(f"send to a queue whose name is {length_bytes} bytes: {MAX_QUEUE_BYTES} is the most")
    return Outgoing(queue=queue, message=message, delay_s=output.delay_s, broker=broker)
