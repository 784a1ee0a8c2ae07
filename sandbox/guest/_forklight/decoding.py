"""Decodes a body to the value of `event["data"]`, by its content type or by the `decode` setting of its trigger."""

import json
from collections.abc import Callable
from typing import Any, NoReturn

from . import codings, forms, mediatypes
from .charsets import charset_of, decode_text


class Undecodable(Exception):
    """The body does not match its content type. The handler has not run, and another attempt would fail, too."""


class BodyTooLarge(Undecodable):
    """The unpacked body is larger than its trigger accepts."""


def unpack_body(body: bytes, coding: str, limit_bytes: int) -> bytes:
    """The body without its Content-Encoding. Raises Undecodable, BodyTooLarge."""
    try:
        return codings.unpack(body, coding, limit_bytes)
    except codings.TooLarge as error:
        raise BodyTooLarge(f"the body cannot be decoded: {error}") from None
    except ValueError as error:
        raise Undecodable(f"the body cannot be decoded: {error}") from None


def decode_body(body: bytes, content_type: str | None, decode: str | None) -> Any:
    """The value of a body; an empty body is None. `decode` is `json`, `text`, `bytes`, or None for the content type.

    Only JSON and multipart can be invalid: text and forms are repaired, see `charsets.py`. Raises only Undecodable,
    whatever the bytes and the content type are.
    """
    if not body:
        return None
    parameters: dict[str, str] = {}
    if content_type == "application/json":  # the usual case
        kind = decode or "json"
    else:
        media_type, parameters = mediatypes.parse(content_type or "")
        kind = decode or _kind(media_type)
    try:
        if kind == "json":
            return _json(body, parameters.get("charset"))
        if kind == "text":
            return decode_text(body, parameters.get("charset"))
        if kind == "form":
            return forms.urlencoded(body, parameters.get("charset"))
        if kind == "multipart":
            return forms.multipart(body, parameters.get("boundary"), parameters.get("charset"))
    except RecursionError:
        raise Undecodable(f"the body cannot be decoded as {kind}: it is nested too deeply") from None
    except ValueError as error:
        raise Undecodable(f"the body cannot be decoded as {kind}: {error}") from None
    return body


def _kind(media_type: str) -> str:
    """`json` for application/json and every `+json` (RFC 6839), `text` for text/*, the two HTML forms, else `bytes`."""
    if media_type == "application/json" or media_type.endswith("+json"):
        return "json"
    if media_type.startswith("text/"):
        return "text"
    if media_type == "application/x-www-form-urlencoded":
        return "form"
    return "multipart" if media_type == "multipart/form-data" else "bytes"


def _json(body: bytes, charset: str | None) -> Any:
    # RFC 8259 §8.1 demands UTF-8. Older senders use UTF-16 or -32, detected by the first bytes; a BOM is ignored.
    if charset is None and body[0] in b"{[" and b"\0" not in body[:4]:
        text = body.decode()
        try:
            value, end = _scan(text, 0)
            if end == len(text):
                return value
        except StopIteration:  # `decode` reports the position, and accepts trailing white space
            pass
        return _JSON.decode(text)
    # A known charset counts, although RFC 8259 has no such parameter. Unlike text, invalid JSON is not repaired.
    text = body.decode(charset_of(charset) or json.detect_encoding(body))
    return _JSON.decode(text.removeprefix("\ufeff"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
_scan: "Callable[[str, int], tuple[Any, int]]" = _JSON.scan_once  # type: ignore[attr-defined]
