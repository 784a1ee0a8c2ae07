"""AMQP field values without loss: whatever a header holds is read, and written again with its type and value.

pamqp, which encodes and decodes for aio-pika, fails on some of it: strings that are not UTF-8, negative decimals, times
beyond the year 9999, doubles (written in single precision), tables nested a thousand deep. An error there ends the
connection, and the message that caused it is delivered again on the next one, for ever. So its tables of codecs, one
function for each type, get ours for these types when this module is imported.
"""

import datetime
import decimal
import struct
from collections.abc import Callable
from typing import Any

from pamqp import decode, encode

UNDECODABLE = "forklight-undecodable"
"""The only header of a message whose headers cannot be decoded: the table's own bytes."""
DEEPEST = 64
"""Tables and lists nested deeper than this are not decoded, so that nobody who walks through them comes to grief."""
_LAST_SECOND = 253_402_300_799
"""The end of the year 9999, where `datetime` ends."""


class RawText(bytes):
    """A long string that is not UTF-8. Bytes that are just bytes are what AMQP calls a byte array."""


class Instant(int):
    """A timestamp that `datetime` cannot hold, as the number it came as. Often it was milliseconds."""


def decode_table(data: bytes) -> tuple[int, dict[str, Any]]:
    """The headers, and how many bytes they took."""
    size = 4 + struct.unpack_from(">I", data)[0]
    try:
        table: Any = decode.field_table(data)[1]
        if not is_deeper(table, DEEPEST):
            return size, table
    except (ValueError, ArithmeticError, LookupError, RecursionError, struct.error):
        pass
    return size, {UNDECODABLE: data[4:size]}


def is_deeper(value: Any, levels: int) -> bool:
    """Whether tables and lists are nested more than `levels` deep in it."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [inner for outer in layer for inner in _inside(outer) if isinstance(inner, dict | list)]
        if not layer:
            return False
    return True


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def decode_timestamp(data: bytes) -> tuple[int, datetime.datetime | Instant]:
    """Seconds since the epoch; pamqp takes large ones for milliseconds, and would not write them again as they came."""
    (seconds,) = struct.unpack_from(">Q", data)
    if seconds > _LAST_SECOND:
        return 8, Instant(seconds)
    return 8, datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)


def decode_decimal(data: bytes) -> tuple[int, decimal.Decimal]:
    """Signed, as the errata to AMQP 0-9-1 have it."""
    places, number = struct.unpack_from(">Bi", data)
    return 5, decimal.Decimal(number).scaleb(-places)


def decode_long_text(data: bytes) -> tuple[int, str | RawText]:
    """A string within headers."""
    end = 4 + struct.unpack_from(">I", data)[0]
    try:
        return end, data[4:end].decode()
    except UnicodeDecodeError:
        return end, RawText(data[4:end])


def decode_bytes(data: bytes) -> tuple[int, bytes]:
    """A byte array within headers."""
    end = 4 + struct.unpack_from(">I", data)[0]
    return end, data[4:end]


def decode_text(data: bytes) -> tuple[int, str]:
    """A short string; what is not UTF-8 in it is shown as escapes."""
    end = 1 + data[0]
    return end, data[1:end].decode(errors="backslashreplace")


def encode_text(value: str) -> bytes:
    """A short string, of at most 255 bytes. Raises TypeError if it is longer or no string."""
    if not isinstance(value, str) or len(text := value.encode()) > 255:
        raise TypeError(f"a string of at most 255 bytes is wanted here, not {value!r}")
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

decode.METHODS.update(table=decode_table, shortstr=decode_text, timestamp=decode_timestamp)
decode.TABLE_MAPPING.update({b"T": decode_timestamp, b"D": decode_decimal, b"S": decode_long_text, b"x": decode_bytes})
encode.METHODS.update(table=encode_table, shortstr=encode_text, timestamp=encode_timestamp)
