"""AMQP field values without loss: whatever a header holds is read, and written again with its type and value.

pamqp, which encodes and decodes for aio-pika, fails on some of it: strings that are not UTF-8, negative decimals, times
beyond the year 9999, doubles (written in single precision), tables nested a thousand deep, names of queues that are not
ASCII. An error there ends the connection, and the message that caused it is delivered again on the next one, for ever.
Lists take it time in proportion to the square of their length. pamqp looks its codecs up in tables and offers no other
place for them, so `install` puts ours there; it is called before the first connection is made.
"""

import datetime
import decimal
import re
import struct
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from pamqp import constants, decode, encode

UNDECODABLE = "forklight-undecodable"
"""The only header of a message whose headers cannot be decoded: the table's own bytes."""
DEEPEST = 64
"""Tables and lists nested deeper than this are not decoded, so that nobody who walks through them comes to grief."""
LAST_SECOND = 253_402_300_799
"""The end of the year 9999, where `datetime` ends."""
_LONGEST_NAME = 255
"""Bytes of a short string (AMQP 0-9-1 §4.2.5.3)."""


def install() -> None:
    """Have pamqp use the codecs of this module, in the whole process. Calling it again changes nothing."""
    decode.METHODS.update(table=decode_table, shortstr=decode_text, timestamp=decode_timestamp)
    encode.METHODS.update(table=encode_table, shortstr=encode_text, timestamp=encode_timestamp)
    for domain in constants.DOMAIN_REGEX:  # RabbitMQ takes any UTF-8 as a name, pamqp only some of ASCII
        constants.DOMAIN_REGEX[domain] = re.compile(r".*", re.DOTALL)


class RawText(bytes):
    """A long string that is not UTF-8. Bytes that are just bytes are what AMQP calls a byte array."""


class RawName(str):
    """A short string that is not UTF-8: reads as text with escapes, of at most 255 bytes, and is written as it came."""

    __slots__ = ("raw",)
    raw: bytes

    def __new__(cls, raw: bytes) -> "RawName":
        text = raw.decode(errors="backslashreplace")
        if len(text.encode()) > _LONGEST_NAME:  # an escape takes four bytes; the digest keeps different names different
            text = f"{raw[:48].decode(errors='backslashreplace')}~{blake2b(raw, digest_size=16).hexdigest()}"
        name = super().__new__(cls, text)
        name.raw = raw
        return name


class Instant(int):
    """A timestamp that `datetime` cannot hold, as the number it came as. Often it was milliseconds."""


def decode_table(data: bytes) -> tuple[int, dict[str, Any]]:
    """The headers, and how many bytes they took. Takes time in proportion to their size, whatever they hold."""
    end = 4 + struct.unpack_from(">I", data)[0]
    try:
        return end, _table(data, 4, end, DEEPEST)
    except (ValueError, ArithmeticError, LookupError, struct.error):
        return end, {UNDECODABLE: data[4:end]}


def _table(data: bytes, at: int, end: int, levels: int) -> dict[str, Any]:
    table = {}
    while at < end:
        start = at + 1
        at = start + data[at]
        name = data[start:at].decode()
        table[name], at = _value(data, at, end, levels)
    return table


def _list(data: bytes, at: int, end: int, levels: int) -> list[Any]:
    found = []
    while at < end:
        value, at = _value(data, at, end, levels)
        found.append(value)
    return found


def _value(data: bytes, at: int, limit: int, levels: int) -> tuple[Any, int]:
    """The value whose type is at `at`, and where it ends. Raises ValueError beyond `limit` or `levels` of nesting."""
    kind, at = data[at : at + 1], at + 1
    if kind in _FIXED:
        layout, make = _FIXED[kind]
        if at + layout.size > limit:
            raise ValueError("a value reaches beyond what holds it")
        return make(*layout.unpack_from(data, at)), at + layout.size
    start = at + 4
    end = start + struct.unpack_from(">I", data, at)[0]
    if end > limit:
        raise ValueError("a value reaches beyond what holds it")
    if kind not in _NESTED:
        return _SIZED[kind](data[start:end]), end
    if not levels:
        raise ValueError(f"tables and lists are nested more than {DEEPEST} deep")
    return _NESTED[kind](data, start, end, levels - 1), end


def _instant(seconds: int) -> datetime.datetime | Instant:
    """pamqp takes large ones for milliseconds, and would not write them again as they came."""
    return Instant(seconds) if seconds > LAST_SECOND else datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)


def _decimal(places: int, number: int) -> decimal.Decimal:
    """Signed, as the errata to AMQP 0-9-1 have it."""
    return decimal.Decimal(number).scaleb(-places)


def _long_text(data: bytes) -> str | RawText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return RawText(data)


def decode_timestamp(data: bytes) -> tuple[int, datetime.datetime | Instant]:
    """Seconds since the epoch."""
    return 8, _instant(*struct.unpack_from(">Q", data))


def decode_text(data: bytes) -> tuple[int, str]:
    """A short string."""
    end = 1 + data[0]
    try:
        return end, data[1:end].decode()
    except UnicodeDecodeError:
        return end, RawName(data[1:end])


def encode_text(value: str) -> bytes:
    """A short string, of at most 255 bytes. Raises TypeError if it is longer or no string, ValueError if not UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"a string is wanted here, not {value!r:.100}")
    text = value.raw if isinstance(value, RawName) else value.encode()
    if len(text) > _LONGEST_NAME:
        raise TypeError(f"a string of at most {_LONGEST_NAME} bytes is wanted here, not {value!r:.100}")
    return bytes((len(text),)) + text


def encode_table(value: dict[str, Any]) -> bytes:
    """Raises TypeError for what AMQP has no type for."""
    content = b"".join(encode_text(name) + encode_value(inner) for name, inner in (value or {}).items())
    return struct.pack(">I", len(content)) + content


def encode_value(value: Any) -> bytes:
    """A value with its type before it. Raises TypeError for what AMQP has no type for."""
    for kind, code, encoded in _ENCODERS:
        if isinstance(value, kind):
            return code + encoded(value)
    return encode.encode_table_value(value)


def encode_timestamp(value: datetime.datetime | Instant) -> bytes:
    """Whole seconds; a time without a zone is UTC."""
    if isinstance(value, Instant):
        return struct.pack(">Q", value)
    if not isinstance(value, datetime.datetime):
        raise TypeError(f"a time is wanted here, not {value!r}")
    return struct.pack(">Q", int(value.replace(tzinfo=value.tzinfo or datetime.UTC).timestamp()))


def _sized(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


_ENCODERS: tuple[tuple[type, bytes, Callable[[Any], bytes]], ...] = (
    (Instant, b"T", encode_timestamp),
    (datetime.datetime, b"T", encode_timestamp),
    (float, b"d", lambda value: struct.pack(">d", value)),
    (RawText, b"S", _sized),
    (bytes, b"x", _sized),
    (dict, b"F", encode_table),
    (list, b"A", lambda value: _sized(b"".join(map(encode_value, value)))),
)

_FIXED: dict[bytes, tuple[struct.Struct, Callable[..., Any]]] = {
    b"t": (struct.Struct("B"), bool),
    b"b": (struct.Struct(">b"), int),
    b"B": (struct.Struct(">B"), int),
    b"s": (struct.Struct(">h"), int),
    b"u": (struct.Struct(">H"), int),
    b"I": (struct.Struct(">i"), int),
    b"i": (struct.Struct(">I"), int),
    b"l": (struct.Struct(">q"), int),
    b"L": (struct.Struct(">q"), int),
    b"f": (struct.Struct(">f"), float),
    b"d": (struct.Struct(">d"), float),
    b"D": (struct.Struct(">Bi"), _decimal),
    b"T": (struct.Struct(">Q"), _instant),
    b"V": (struct.Struct(""), lambda: None),
    b"\0": (struct.Struct(""), lambda: None),
}
"""Types of a fixed size (https://www.rabbitmq.com/amqp-0-9-1-errata.html; the last one pamqp has seen in the wild)."""
_SIZED: dict[bytes, Callable[[bytes], Any]] = {b"S": _long_text, b"x": bytes}
_NESTED: dict[bytes, Callable[[bytes, int, int, int], Any]] = {b"F": _table, b"A": _list}
