"""Takes deliveries out of the bytes of a connection, before aiormq sees them.

aiormq awaits each frame three times, passes it through a queue, and starts a task for each message, which costs several
times what the message itself does. So the stream that it reads from is ours: whoever consumes through a channel
gets its deliveries in the callback that brings their bytes, and all other frames go to aiormq unchanged (AMQP 0-9-1
§2.3.5 and §4.2 have their layout). The heartbeats that aiormq wants to see are among them, and the link asks the broker
something every few seconds.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from pamqp.commands import Basic
from yarl import URL

from bus.rabbitmq.fields import decode_table, decode_text, decode_timestamp

_FRAME = struct.Struct(">BHI")
"""Type, channel, and length without the end mark."""
_HEADER = struct.Struct(">HHQH")
"""Class, weight, size of the body, and which properties follow."""
_METHOD, _CONTENT_HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_KINDS = frozenset((_METHOD, _CONTENT_HEADER, _BODY, _HEARTBEAT))
_DELIVER = struct.pack(">HH", 60, 60)
_TAG = struct.Struct(">QB")
_LIMIT_BYTES = 64 * 1024


def _octet(data: bytes) -> tuple[int, int]:
    return 1, data[0]


_PROPERTIES: tuple[tuple[int, str, Callable[[bytes], tuple[int, Any]]], ...] = tuple(
    (
        Basic.Properties.flags[name],
        name,
        {"headers": decode_table, "timestamp": decode_timestamp, "delivery_mode": _octet, "priority": _octet}.get(
            name, decode_text
        ),
    )
    for name in Basic.Properties.flags
)


class Delivered(NamedTuple):
    """A delivery of the broker, without its content."""

    consumer: str
    tag: int
    redelivered: bool
    exchange: str
    routing_key: str


Sink = Callable[[Delivered, Basic.Properties, bytes], None]
"""Gets each delivery of a channel, in the event loop. It must not raise."""


class _Content:
    """A delivery whose content has not come completely."""

    __slots__ = ("delivered", "left_bytes", "parts", "properties")

    def __init__(self, delivered: Delivered) -> None:
        self.delivered = delivered
        self.properties = Basic.Properties()
        self.left_bytes = 0
        self.parts: list[bytes] = []


class Reader(asyncio.StreamReader):
    """`sinks`: by channel number."""

    def __init__(self, sinks: dict[int, Sink], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_LIMIT_BYTES, loop)
        self._sinks = sinks
        self._contents: dict[int, _Content] = {}
        self._part = b""
        """The beginning of a frame."""
        self._is_amqp = True

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # typeshed allows any iterable of numbers
        """Called by the transport's protocol."""
        if not self._is_amqp:
            super().feed_data(data)
            return
        data = self._part + data if self._part else data
        at, kept, end = 0, 0, len(data)
        others = []
        while end - at >= _FRAME.size:
            kind, channel, size_bytes = _FRAME.unpack_from(data, at)
            if kind not in _KINDS:  # such as the answer of a server of another protocol: aiormq has the words
                self._is_amqp, end = False, at
                break
            after = at + _FRAME.size + size_bytes + 1
            if after > end:
                break
            if channel in self._sinks and self._take(kind, channel, data[at + _FRAME.size : after - 1]):
                others.append(data[kept:at])
                kept = after
            at = after
        others.append(data[kept:at] if self._is_amqp else data[kept:])
        self._part = data[at:] if self._is_amqp else b""
        if rest := b"".join(others):
            super().feed_data(rest)

    def feed_eof(self) -> None:
        """Called by the transport's protocol."""
        if self._part:
            super().feed_data(self._part)
        super().feed_eof()

    def _take(self, kind: int, channel: int, frame: bytes) -> bool:
        """Return whether the frame belongs to a delivery."""
        if kind == _METHOD:
            self._contents.pop(channel, None)
            if not frame.startswith(_DELIVER):
                return False
            self._contents[channel] = _Content(delivered_of(frame))
            return True
        content = self._contents.get(channel)
        if content is None:
            return False
        if kind == _CONTENT_HEADER:
            content.left_bytes, content.properties = header_of(frame)
        else:
            content.parts.append(frame)
            content.left_bytes -= len(frame)
        if content.left_bytes <= 0:
            del self._contents[channel]
            body = content.parts[0] if len(content.parts) == 1 else b"".join(content.parts)
            self._sinks[channel](content.delivered, content.properties, body)
        return True


def delivered_of(frame: bytes) -> Delivered:
    """Decode basic.deliver."""
    at, consumer = decode_text(frame[4:])
    at += 4
    tag, bits = _TAG.unpack_from(frame, at)
    at += _TAG.size
    size, exchange = decode_text(frame[at:])
    return Delivered(consumer, tag, bool(bits & 1), exchange, decode_text(frame[at + size :])[1])


def header_of(frame: bytes) -> tuple[int, Basic.Properties]:
    """Decode a content header: the size of the body, and the properties."""
    _, _, size_bytes, flags = _HEADER.unpack_from(frame)
    properties, at = Basic.Properties(), _HEADER.size
    for flag, name, decode in _PROPERTIES:
        if flags & flag:
            size, value = decode(frame[at:])
            setattr(properties, name, value)
            at += size
    return size_bytes, properties


class Transports(TransportFactory):
    """Opens one connection."""

    def __init__(self) -> None:
        self.sinks: dict[int, Sink] = {}

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Called by aiormq, whose own factories do the same with a plain reader."""
        context = options.pop("ssl_context_provider")
        loop = asyncio.get_running_loop()
        reader = Reader(self.sinks, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        ssl = await context.get_context() if url.scheme == "amqps" else None
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, url.host or "", url.port or 0, ssl=ssl, **options
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
