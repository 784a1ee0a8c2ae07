"""Headers as a handler sees them: AMQP 0-9-1 values converted to JSON values. Pure."""

from base64 import b64encode
from datetime import datetime
from typing import Any

from bus.message import OURS
from bus.times import rfc3339
from triggers.queue.errors import UnreadableError

MAX_DEPTH = 32
"""Of nested tables and lists: deeper than anything useful, far below the limit of a recursive reader."""


def visible(headers: dict[str, Any]) -> dict[str, Any]:
    """Convert all headers but our own. Raises UnreadableError if they are nested too deeply.

    Bytes become text if they are UTF-8, else base64; times become RFC 3339; decimals and integers of more than 64 bits
    become text; tables and lists stay as they are.
    """
    return {
        str(name): value if type(value) is str else json_safe(value)
        for name, value in headers.items()
        if not str(name).lower().startswith(OURS)
    }


def json_safe(value: Any, depth: int = 1) -> Any:
    """One header's value, at this depth of tables."""
    if value is None or isinstance(value, str | bool | float):
        return value
    if isinstance(value, int):
        number = int(value)  # of a subclass, as a time may be one, not everything that follows makes a number
        return number if -(2**63) <= number < 2**63 else str(number)
    if isinstance(value, bytes | bytearray | memoryview):
        return _text(bytes(value))
    if isinstance(value, datetime):
        return rfc3339(value)  # AMQP's timestamps have no offset and are in UTC
    if isinstance(value, dict | list | tuple) and depth >= MAX_DEPTH:
        raise UnreadableError(f"its headers are nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        return {str(name): json_safe(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(each, depth + 1) for each in value]
    return str(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return b64encode(value).decode()
