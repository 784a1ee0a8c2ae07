"""AMQP field values without loss: any header value can be read, and written again with its type and value.

pamqp, which encodes and decodes for aio-pika, fails on some values: strings that are not UTF-8, negative decimals,
times after the year 9999, doubles (written in single precision), tables nested a thousand deep, queue names that are
not ASCII. Such an error ends the connection, and the next connection gets the same message again, forever. On lists,
pamqp takes quadratic time. It looks up its codecs in tables and has no other hook, so `install` replaces them there,
before the first connection.
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
"""The only header of a message whose headers cannot be decoded: the raw bytes of the table."""
DEEPEST = 64
"""Tables and lists nested deeper than this are not decoded, because recursive readers would fail on them."""
LAST_SECOND = 253_402_300_799
"""The end of the year 9999, where `datetime` ends."""
_LONGEST_NAME = 255
"""Bytes of a short string (AMQP 0-9-1 §4.2.5.3)."""


def install() -> None:
    """Make pamqp use the codecs of this module, in the whole process. Idempotent."""
    decode.METHODS.update(table=decode_table, shortstr=decode_text, timestamp=decode_timestamp)
    encode.METHODS.update(table=encode_table, shortstr=encode_text, timestamp=encode_timestamp)
    for domain in constants.DOMAIN_REGEX:  # RabbitMQ accepts any UTF-8 as a name, pamqp only some of ASCII
        constants.DOMAIN_REGEX[domain] = re.compile(r".*", re.DOTALL)


class RawText(bytes):
    """A long string that is not UTF-8. Plain `bytes` are AMQP's byte arrays."""


class RawName(str):
    """A short string that is not UTF-8: text with escapes, of at most 255 bytes, that is encoded as it was received."""

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
    """A timestamp that `datetime` cannot represent, as the number received, which is often in milliseconds."""


def decode_table(data: bytes) -> tuple[int, dict[str, Any]]:
    """Return the number of bytes read, and the headers. Takes linear time, whatever they contain."""
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
    """Return the value whose type is at `at`, and its end. Raises ValueError over `limit` or `levels` of nesting."""
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
    """Unlike pamqp, never take a large number for milliseconds: it could not be written again as received."""
    return Instant(seconds) if seconds > LAST_SECOND else datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)


def _decimal(places: int, number: int) -> decimal.Decimal:
    """Signed, as in RabbitMQ's errata to AMQP 0-9-1."""
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
    """Encode a short string. Raises TypeError over 255 bytes or for another type, ValueError if it is not UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"expected a string, not {value!r:.100}")
    text = value.raw if isinstance(value, RawName) else value.encode()
    if len(text) > _LONGEST_NAME:
        raise TypeError(f"expected a string of at most {_LONGEST_NAME} bytes, not {value!r:.100}")
    return bytes((len(text),)) + text


def encode_table(value: dict[str, Any]) -> bytes:
    """Encode headers. Raises TypeError for a value without an AMQP type."""
    content = b"".join(encode_text(name) + encode_value(inner) for name, inner in (value or {}).items())
    return struct.pack(">I", len(content)) + content


def encode_value(value: Any) -> bytes:
    """Encode a value, preceded by its type. Raises TypeError for a value without an AMQP type."""
    for kind, code, encoded in _ENCODERS:
        if isinstance(value, kind):
            return code + encoded(value)
    return encode.encode_table_value(value)


def encode_timestamp(value: datetime.datetime | Instant) -> bytes:
    """Encode in whole seconds; a time without a zone is UTC."""
    if isinstance(value, Instant):
        return struct.pack(">Q", value)
    if not isinstance(value, datetime.datetime):
        raise TypeError(f"expected a time, not {value!r}")
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
"""Types of a fixed size (https://www.rabbitmq.com/amqp-0-9-1-errata.html; the last one is from pamqp)."""
_SIZED: dict[bytes, Callable[[bytes], Any]] = {b"S": _long_text, b"x": bytes}
_NESTED: dict[bytes, Callable[[bytes, int, int, int], Any]] = {b"F": _table, b"A": _list}
