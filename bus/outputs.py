"""Where a handler's outputs go: from what it sent and spawned to messages with a queue and a store. Pure."""

from collections.abc import Collection

from msgspec import Struct

from bus.errors import BusError
from bus.event import Event
from bus.hint import those
from bus.limits import MAX_NAME_BYTES
from bus.message import RESERVED, Outgoing, inbox, output_message
from bus.outcome import Code, Failed, FailureKind, Ok, Output
from bus.places import split_place
from bus.retry import LONGEST_DELAY_S

MAX_HEADERS_BYTES = 64 * 1024
"""Of all headers of one message. On a broker they share a frame of 128 KiB with what retries and dead letters add."""


class UnroutableError(BusError):
    """An output has no destination, or exceeds what every store can hold; another attempt would not help."""


class Known(Struct, frozen=True):
    """The destinations of outputs: functions, `[brokers.NAME]`, and the queues of the bus's own store with consumers.

    Any other name is a queue of the bus's own store too, unless it looks like a queue of an unknown broker.
    """

    functions: Collection[str] = ()
    brokers: Collection[str] = ()
    queues: Collection[str] = ()


def outgoing(outcome: Ok, event: Event, known: Known) -> tuple[Outgoing, ...]:
    """Return the messages to store when the invocation for `event` succeeds. Raises UnroutableError."""
    return tuple(_outgoing(output, event, number, known) for number, output in enumerate(outcome.outputs, start=1))


def unroutable(outcome: Ok, error: Exception) -> Failed:
    """The outcome of a handler that returned, but one of its outputs can never be stored."""
    return _failed(outcome, "error", "Unroutable", str(error))


def not_stored(outcome: Ok, error: Exception) -> Failed:
    """The outcome of a handler that returned, but a store did not accept its outputs this time."""
    return _failed(outcome, "store", "NotStored", f"the handler returned, but its outputs could not be stored: {error}")


def _outgoing(output: Output, event: Event, number: int, known: Known) -> Outgoing:
    _check_size(output)
    message = output_message(output, event, number)
    if output.kind == "publish":
        raise UnroutableError(f"publish to {output.name!r}: this version has no topics; send to a queue or spawn")
    if output.kind == "spawn":
        if output.name not in known.functions:
            there = those("functions", known.functions)
            raise UnroutableError(f"spawn of {output.name!r:.100}: there is no such function; {there}")
        return Outgoing(queue=inbox(output.name), message=message, delay_s=output.delay_s)
    queue, broker = split_place(output.name, known.brokers)
    _check_queue(output, queue, broker, known)
    return Outgoing(queue=queue, message=message, delay_s=output.delay_s, broker=broker)


def _check_queue(output: Output, queue: str, broker: str, known: Known) -> None:
    if not queue:
        raise UnroutableError(f"send to {output.name!r}: the queue has no name")
    if queue.startswith(RESERVED):
        hint = f"names that begin with {RESERVED} are ours; to run a function here use context.spawn"
        raise UnroutableError(f"send to {output.name!r:.100}: {hint}")
    if "@" in queue and not broker and queue not in known.queues:
        there = those("brokers", known.brokers)
        raise UnroutableError(
            f"send to {output.name!r:.300}: there is no broker {queue.rpartition('@')[2]!r:.100}; {there}"
        )
    _check_name(output, "the queue's name", queue)


def _check_size(output: Output) -> None:
    """Settling is repeated until a store accepts it, so a store must never get what it would always refuse."""
    _check_name(output, "the id", output.id or "")
    _check_name(output, "the content type", output.content_type)
    _check_name(output, "the correlation id", output.correlation_id or "")
    _check_name(output, "the name in reply_to", output.reply_to or "")
    if output.delay_s > LONGEST_DELAY_S:
        days = LONGEST_DELAY_S / 86400
        raise UnroutableError(
            f"{output.kind} to {output.name!r:.100}: a delay of {output.delay_s:g} s, the limit is {days:g} days"
        )
    headers_bytes = 0
    for name, value in output.headers.items():
        _check_name(output, "a header's name", name)
        headers_bytes += len(name.encode()) + len(value.encode(errors="replace"))
    if headers_bytes > MAX_HEADERS_BYTES:
        raise UnroutableError(
            f"{output.kind} to {output.name!r:.100}: headers of {headers_bytes} bytes, the limit is {MAX_HEADERS_BYTES}"
        )


def _check_name(output: Output, what: str, name: str) -> None:
    try:
        length_bytes = len(name.encode())
    except UnicodeEncodeError:
        raise UnroutableError(f"{output.kind} to {output.name!r:.100}: {what} is not valid UTF-8") from None
    if length_bytes > MAX_NAME_BYTES:
        raise UnroutableError(
            f"{output.kind} to {output.name!r:.100}: {what} has {length_bytes} bytes, the limit is {MAX_NAME_BYTES}"
        )


def _failed(outcome: Ok, kind: FailureKind, code: Code, message: str) -> Failed:
    """A failure that keeps the figures of the run, which itself succeeded."""
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
