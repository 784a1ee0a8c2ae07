"""From a Python value to a body and its content type, for results and outputs alike."""

import contextlib
import math
import sys
from binascii import b2a_base64
from collections import abc, deque
from typing import Any

from .jsons import make_encoder

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
OCTETS = "application/octet-stream"


class Unencodable(TypeError):
    """A value that cannot become a body; the message names its type and where it is, `$` being the whole value."""


def encode_body(value: Any) -> tuple[str, bytes]:
    """`(content type, body)`: str is text, bytes are octets, everything else is JSON. Raises Unencodable."""
    if isinstance(value, str):
        return TEXT, encode_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return OCTETS, bytes(value)
    return JSON, encode_json(value)


def encode_text(text: str) -> bytes:
    """UTF-8. Raises Unencodable for a lone surrogate, which no text on the wire can hold."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unencodable(f"$: the text has a lone surrogate at {error.start}, which is not UTF-8") from None


def encode_json(value: Any) -> bytes:
    """JSON in UTF-8 (RFC 8259), with the additions of `_simpler`; keys may also be enums. Raises Unencodable."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError):
        # The encoder does not say where it failed and knows no enum as key: walk slowly, which names the place.
        text = _encode_slowly(value)
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate, as \ud800: that is JSON, but not UTF-8


def _encode_slowly(value: Any) -> str:
    try:
        plain = _plain(value, "$", frozenset())
    except RecursionError:
        raise Unencodable("$: nested too deeply to be encoded") from None
    try:
        return _encode(plain)
    except ValueError as error:  # an integer of thousands of digits
        raise Unencodable(f"$: {error}") from None


def _plain(value: Any, path: str, above: frozenset[int]) -> Any:
    """`value` made of nothing but what JSON knows. `above` are the ids of the objects that contain it."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unencodable(f"{path}: {value!r} is a number that JSON has not")
        return value
    if id(value) in above:
        raise Unencodable(f"{path}: the {type(value).__name__} contains itself")
    above |= {id(value)}
    if isinstance(value, dict):
        return {_key(key, path): _plain(item, path + _step(key), above) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{index}]", above) for index, item in enumerate(value)]
    try:
        simpler = _simpler(value)
    except Unencodable as error:
        raise Unencodable(f"{path}: {error}") from None
    return _plain(simpler, path, above)


def _key(key: Any, path: str) -> Any:
    if _is_a(key, "enum", "Enum"):
        key = key.value
    elif not isinstance(key, (str, int, float, bytes, abc.Collection, type(None))):
        with contextlib.suppress(Unencodable):  # dates, UUIDs, paths, numbers of other kinds
            key = _simpler(key)
    if key is None or isinstance(key, (str, int)) or (isinstance(key, float) and math.isfinite(key)):
        return key
    raise Unencodable(f"{path}: a key of type {type(key).__name__} cannot be encoded, use str")


def _step(key: Any) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r:.40}]"


def _simpler(value: Any) -> Any:
    """One step towards JSON; raises Unencodable without a path.

    datetime, date, time → RFC 3339 text (UTC as `Z`; one without a zone gets no offset) · timedelta → ISO 8601 text ·
    UUID, path → text · Decimal → text, as a number would lose digits · bytes → base64 text (RFC 4648 §4) · an enum →
    its value · numbers and arrays of numpy → numbers and lists · a set, deque, range or view → a list · a mapping, a
    dataclass or what has `model_dump` (pydantic) → a dict.
    """
    text = _as_text(value)
    if text is not None:
        return text
    kind = type(value)
    if kind.__module__ == "numpy" and callable(getattr(kind, "tolist", None)):
        return value.tolist()
    if isinstance(value, (abc.Set, abc.Sequence, abc.ValuesView, deque)):
        return list(value)
    if isinstance(value, abc.Mapping):
        return dict(value)
    if _is_a(value, "enum", "Enum"):
        return value.value
    if hasattr(kind, "__dataclass_fields__"):
        from dataclasses import fields

        return {field.name: getattr(value, field.name) for field in fields(value)}
    if callable(getattr(kind, "model_dump", None)):
        return value.model_dump()
    raise Unencodable(f"an object of type {kind.__name__} cannot be encoded: make it a dict, list, text or number")


def _as_text(value: Any) -> str | None:
    """Of what is one piece; None for everything else."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b2a_base64(value, newline=False).decode("ascii")
    if any(_is_a(value, "datetime", name) for name in ("datetime", "date", "time")):
        text: str = value.isoformat()
        return text[: -len("+00:00")] + "Z" if text.endswith("+00:00") else text
    if _is_a(value, "datetime", "timedelta"):
        return _duration(value)
    if _is_a(value, "uuid", "UUID") or _is_a(value, "pathlib", "PurePath"):
        return str(value)
    return str(value) if _is_a(value, "decimal", "Decimal") and value.is_finite() else None


def _duration(value: Any) -> str:
    """`PT1.5S`: ISO 8601 without days, which are not always as long."""
    seconds, microseconds = divmod(abs(value) // type(value)(microseconds=1), 1_000_000)
    fraction = f".{microseconds:06}".rstrip("0") if microseconds else ""
    return f"{'-' if value.days < 0 else ''}PT{seconds}{fraction}S"


def _is_a(value: Any, module: str, name: str) -> bool:
    """isinstance without the import: nobody has an instance of a class whose module is not loaded."""
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


_encode = make_encoder(default=_simpler, ascii_only=False)
