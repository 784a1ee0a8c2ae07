"""Where a handler's outputs go: from what it sent and spawned to messages with a queue and a store. Pure."""

from collections.abc import Collection

from msgspec import Struct

from bus.event import Event
from bus.limits import MAX_NAME_BYTES
from bus.message import RESERVED, Outgoing, inbox, output_message
from bus.outcome import Code, Failed, FailureKind, Ok, Output
from bus.retry import LONGEST_DELAY_S

MAX_HEADERS_BYTES = 64 * 1024
"""Of all headers of one message: on a broker they share a frame of 128 KiB with what retries and death add."""


class UnroutableError(Exception):
    """An output goes where nothing is, or is what not every store can hold; another attempt would end the same."""


class Known(Struct, frozen=True):
    """What outputs can go to: functions by name, `[brokers.NAME]`, and queues of the bus's own that have consumers.

    Any other queue of the bus's own will do too, unless its name looks like one of a broker that is not there.
    """

    functions: Collection[str] = ()
    brokers: Collection[str] = ()
    queues: Collection[str] = ()


def outgoing(outcome: Ok, event: Event, known: Known) -> tuple[Outgoing, ...]:
    """The messages to store with the success of `event`'s invocation. Raises UnroutableError."""
    return tuple(_outgoing(output, event, number, known) for number, output in enumerate(outcome.outputs, start=1))


def unroutable(outcome: Ok, error: Exception) -> Failed:
    """The outcome of a handler that returned, but sent what can never be stored."""
    return _failed(outcome, "error", "Unroutable", str(error))


def not_stored(outcome: Ok, error: Exception) -> Failed:
    """The outcome of a handler that returned, but whose outputs a store did not accept this time."""
    return _failed(outcome, "store", "NotStored", f"the handler returned, but its outputs were not: {error}")


def split_queue(name: str, brokers: Collection[str]) -> tuple[str, str]:
    """`orders@shop` → (orders, shop) if there is a broker shop; else the whole name is a queue of the bus's own."""
    queue, at, broker = name.rpartition("@")
    return (queue, broker) if at and broker in brokers else (name, "")


def _outgoing(output: Output, event: Event, number: int, known: Known) -> Outgoing:
    _check_size(output)
    message = output_message(output, event, number)
    if output.kind == "publish":
        raise UnroutableError(f"publish to {output.name!r}: this version has no topics; send to a queue or spawn")
    if output.kind == "spawn":
        if output.name not in known.functions:
            raise UnroutableError(f"spawn of {output.name!r}: there is no such function here")
        return Outgoing(queue=inbox(output.name), message=message, delay_s=output.delay_s)
    queue, broker = split_queue(output.name, known.brokers)
    _check_queue(output, queue, broker, known)
    return Outgoing(queue=queue, message=message, delay_s=output.delay_s, broker=broker)


def _check_queue(output: Output, queue: str, broker: str, known: Known) -> None:
    if not queue:
        raise UnroutableError(f"send to {output.name!r}: the queue has no name")
    if queue.startswith(RESERVED):
        hint = f"names that begin with {RESERVED} are ours; to run a function here use context.spawn"
        raise UnroutableError(f"send to {output.name!r:.100}: {hint}")
    if "@" in queue and not broker and queue not in known.queues:
        there = ", ".join(sorted(known.brokers)) or "none"
        raise UnroutableError(
            f"send to {output.name!r:.300}: there is no broker {queue.rpartition('@')[2]!r:.100} here; "
            f"of [brokers.NAME] there are: {there}"
        )
    _check_name(output, "the queue's name", queue)


def _check_size(output: Output) -> None:
    """A store that refuses is asked again until it accepts: so it is never asked for what it will always refuse."""
    _check_name(output, "the id", output.id or "")
    _check_name(output, "the content type", output.content_type)
    _check_name(output, "the correlation id", output.correlation_id or "")
    _check_name(output, "the name in reply_to", output.reply_to or "")
    if output.delay_s > LONGEST_DELAY_S:
        days = LONGEST_DELAY_S / 86400
        raise UnroutableError(
            f"{output.kind} to {output.name!r:.100}: a delay of {output.delay_s:g} s: {days:g} days is the most"
        )
    headers_bytes = 0
    for name, value in output.headers.items():
        _check_name(output, "a header's name", name)
        headers_bytes += len(name.encode()) + len(value.encode(errors="replace"))
    if headers_bytes > MAX_HEADERS_BYTES:
        raise UnroutableError(
            f"{output.kind} to {output.name!r:.100}: headers of {headers_bytes} bytes: {MAX_HEADERS_BYTES} is the most"
        )


def _check_name(output: Output, what: str, name: str) -> None:
    try:
        length_bytes = len(name.encode())
    except UnicodeEncodeError:
        raise UnroutableError(f"{output.kind} to {output.name!r:.100}: {what} is no UTF-8") from None
    if length_bytes > MAX_NAME_BYTES:
        raise UnroutableError(
            f"{output.kind} to {output.name!r:.100}: {what} is {length_bytes} bytes: {MAX_NAME_BYTES} is the most"
        )


def _failed(outcome: Ok, kind: FailureKind, code: Code, message: str) -> Failed:
    """The handler returned, and yet its invocation has failed: the run's own figures stay."""
    return Failed(
        kind=kind,
        code=code,
        message=message,
        timings=outcome.timings,
        start=outcome.start,
        instance=outcome.instance,
        version=outcome.version,
        attempt=outcome.attempt,
        cpu_ns=outcome.cpu_ns,
        peak_rss_kb=outcome.peak_rss_kb,
    )
