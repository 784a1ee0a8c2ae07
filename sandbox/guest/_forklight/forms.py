"""The two encodings of HTML forms: x-www-form-urlencoded (WHATWG URL §5) and multipart/form-data (RFC 7578).

Text is never refused, see `charsets.py`: there are clients that call everything a form (curl), pages in old code pages,
and services that name their charset in a field.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from . import mediatypes
from .charsets import UTF_8, charset_of, decode_text, is_wide

_MAX_PART_HEADERS_BYTES = 16 * 1024
_TEXTS = ("application/json", "application/xml", "application/x-www-form-urlencoded")


def urlencoded(body: bytes, charset: str | None) -> dict[str, Any]:
    """Name → value, both as text; a name that comes several times → the list of its values.

    `charset` is the content type's. A field `_charset_` (HTML §4.10.21.5) goes before it; and if nothing is named and
    the form is no UTF-8, a field `charset`, where PayPal says what it has used.
    """
    charset = charset_of(charset)
    if charset is not None and is_wide(charset):  # the whole form is in it, and not what is percent-encoded
        body, charset = decode_text(body, charset).encode("utf-8", "replace"), UTF_8
    charset = _said_in(body, b"_charset_") or charset or (None if _is_utf8(body) else _said_in(body, b"charset"))
    if charset is None:  # nearly always, and a form may have very many pairs
        return _gathered(
            (name.decode(UTF_8, "replace"), value.decode(UTF_8, "replace")) for name, value in _pairs(body)
        )
    return _gathered((decode_text(name, charset), decode_text(value, charset)) for name, value in _pairs(body))


def multipart(body: bytes, boundary: str | None, charset: str | None = None) -> dict[str, Any]:
    """`{"fields": {name: text}, "files": [{name, filename, content_type, body}]}`.

    A part with a filename is a file, and so is one without whose own type is no text: its `filename` is None. Fields
    that come several times are lists. A part's own charset goes before a field `_charset_` (RFC 7578 §4.6), which goes
    before that of the content type. Raises ValueError naming what is malformed.
    """
    if not boundary:
        raise ValueError("the content type names no boundary")
    parts = list(_parts(body, b"--" + boundary.encode("utf-8", "surrogatepass")))
    said = [charset_of(content.decode("ascii", "replace")) for head, content in parts if b"_charset_" in head]
    charset = next(filter(None, said), None) or charset_of(charset)
    fields: list[tuple[str, str]] = []
    files: list[dict[str, Any]] = []
    for head, content in parts:
        headers = _headers(head, charset)
        disposition, parameters = mediatypes.parse(headers.get("content-disposition", ""))
        if disposition != "form-data" or "name" not in parameters:
            raise ValueError("a part has no Content-Disposition of form-data with a name")
        content_type = headers.get("content-type")
        media_type, options = mediatypes.parse(content_type or "text/plain")
        filename = _filename(parameters)
        if filename is None and ("charset" in options or _is_text(media_type)):
            fields.append((parameters["name"], decode_text(content, options.get("charset") or charset)))
        else:
            file = {"name": parameters["name"], "filename": filename, "content_type": content_type, "body": content}
            files.append(file)
    return {"fields": _gathered(fields), "files": files}


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type in _TEXTS or media_type.endswith(("+json", "+xml"))


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(headers, content) of what lies between the delimiter lines of RFC 2046 §5.1.1.

    Text before the first and after the last is no part. Looks without copying: of a body, which may be most of what
    an instance's memory can hold, there is one copy more at the end, that of the contents.
    """
    line = b"\r\n" + delimiter
    at = len(delimiter) if body.startswith(delimiter) else _after(body, line, 0)
    while not body.startswith(b"--", at):
        line_end = _after(body, b"\r\n", at) - 2
        if body[at:line_end].strip(b" \t"):
            raise ValueError("a line begins with the boundary and is no delimiter")
        next_at = _after(body, line, line_end)
        yield _part(body, line_end, next_at - len(line))
        at = next_at


def _after(body: bytes, sought: bytes, start: int) -> int:
    """Where what is sought has ended."""
    found = body.find(sought, start)
    if found < 0:
        raise ValueError("the closing boundary is missing")
    return found + len(sought)


def _part(body: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """The part after the end of its delimiter's line, where one without headers has its empty line."""
    blank = body.find(b"\r\n\r\n", start, end)
    if blank < 0:
        raise ValueError("a part has no empty line after its headers")
    if blank - start > _MAX_PART_HEADERS_BYTES:
        raise ValueError(f"the headers of a part are longer than {_MAX_PART_HEADERS_BYTES} bytes")
    return body[start:blank], body[blank + 4 : end]


def _headers(head: bytes, charset: str | None) -> dict[str, str]:
    """Names of fields and files are in the form's charset, and no escapes (RFC 7578 §5.1)."""
    headers = {}
    for line in decode_text(head, charset).split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a part has a header line without a colon")
        headers[name.strip().lower()] = value.strip()
    return headers


def _filename(parameters: dict[str, str]) -> str | None:
    # RFC 7578 §4.2 forbids `filename*`, yet some clients send nothing else for names beyond ASCII (RFC 8187).
    extended = parameters.get("filename*")
    if "filename" in parameters or extended is None:
        return parameters.get("filename")
    charset, _, name = extended.split("'", 2) if extended.count("'") >= 2 else (UTF_8, "", extended)
    return decode_text(_unquoted(name.encode("utf-8", "replace")), charset)


def _pairs(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and value, unescaped, one pair at a time: a body may be large, and is no form if `curl` has sent it."""
    at = 0
    while at < len(body):
        end = body.find(b"&", at)
        end = len(body) if end < 0 else end
        if end > at:
            name, _, value = body[at:end].partition(b"=")
            yield _unescaped(name), _unescaped(value)
        at = end + 1


def _unescaped(text: bytes) -> bytes:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return _unquoted(text) if b"%" in text else text


def _unquoted(text: bytes) -> bytes:
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(text)


def _said_in(body: bytes, field: bytes) -> str | None:
    """The charset that a field of this name says, if there is one."""
    if field not in body:
        return None
    return next((charset_of(value.decode("ascii", "replace")) for name, value in _pairs(body) if name == field), None)


def _is_utf8(body: bytes) -> bool:
    if body.isascii() and b"%" not in body:
        return True
    try:
        for pair in _pairs(body):
            for text in pair:
                text.decode(UTF_8)
    except UnicodeDecodeError:
        return False
    return True


def _gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in lists.items()}
