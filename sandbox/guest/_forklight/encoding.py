"""Encodes a Python value as a body with a content type, for results and outputs alike."""

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
    """The value cannot be encoded. The message names its type and its path, `$` being the whole value."""


def encode_body(value: Any) -> tuple[str, bytes]:
    """(content type, body): str becomes text, bytes become octets, everything else JSON. Raises Unencodable."""
    if isinstance(value, str):
        return TEXT, encode_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return OCTETS, bytes(value)
    return JSON, encode_json(value)


def encode_text(text: str) -> bytes:
    """UTF-8. Raises Unencodable for a lone surrogate, which UTF-8 cannot represent."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unencodable(f"$: the text has a lone surrogate at {error.start}, which is not UTF-8") from None


def encode_json(value: Any) -> bytes:
    """JSON in UTF-8 (RFC 8259), extended by the types of `_simpler`; keys may also be enums. Raises Unencodable."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError):
        # The encoder does not report where it failed, and takes no enum as a key: walk slowly to find the place.
        text = _encode_slowly(value)
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate becomes \ud800, which is valid JSON


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
    """`value` converted to the types of JSON. `above` has the ids of the objects that contain it."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unencodable(f"{path}: JSON has no number {value!r}")
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
    """`value` converted one step towards JSON. Raises Unencodable, without a path.

    datetime, date, time → RFC 3339 text (UTC as `Z`; a naive one without an offset) · timedelta → ISO 8601 text ·
    UUID, path → text · Decimal → text, because a number would lose digits · bytes → base64 text (RFC 4648 §4) ·
    an enum → its value · numbers and arrays of numpy → numbers and lists · a set, deque, range or view → a list ·
    a mapping, a dataclass or an object with `model_dump` (pydantic) → a dict.
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
    """The text of a scalar value; None for everything else."""
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
    """`PT1.5S`: ISO 8601 without days, whose length varies."""
    seconds, microseconds = divmod(abs(value) // type(value)(microseconds=1), 1_000_000)
    fraction = f".{microseconds:06}".rstrip("0") if microseconds else ""
    return f"{'-' if value.days < 0 else ''}PT{seconds}{fraction}S"


def _is_a(value: Any, module: str, name: str) -> bool:
    """isinstance without an import: if the module is not loaded, no instance of its class exists."""
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


_encode = make_encoder(default=_simpler, ascii_only=False)
