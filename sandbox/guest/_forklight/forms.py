"""The two encodings of HTML forms: x-www-form-urlencoded (WHATWG URL §5) and multipart/form-data (RFC 7578).

Text is never refused (see `charsets.py`): some clients label everything a form (curl), some pages use old code pages,
and some services name their charset in a field.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from . import mediatypes
from .charsets import UTF_8, charset_of, decode_text, is_wide

_MAX_PART_HEADERS_BYTES = 16 * 1024
_TEXTS = ("application/json", "application/xml", "application/x-www-form-urlencoded")


def urlencoded(body: bytes, charset: str | None) -> dict[str, Any]:
    """Name → value, both text; a repeated name → the list of its values.

    `charset` is that of the content type. A field `_charset_` (HTML §4.10.21.5) overrides it. If neither names one and
    the form is not UTF-8, a field `charset` counts, in which PayPal names its charset.
    """
    charset = charset_of(charset)
    if charset is not None and is_wide(charset):  # it applies to the form as a whole, not to percent-encoded bytes
        body, charset = decode_text(body, charset).encode("utf-8", "replace"), UTF_8
    charset = _named_in(body, b"_charset_") or charset or (None if _is_utf8(body) else _named_in(body, b"charset"))
    if charset is None:  # the usual case, kept fast for forms with very many pairs
        return _gathered(
            (name.decode(UTF_8, "replace"), value.decode(UTF_8, "replace")) for name, value in _pairs(body)
        )
    return _gathered((decode_text(name, charset), decode_text(value, charset)) for name, value in _pairs(body))


def multipart(body: bytes, boundary: str | None, charset: str | None = None) -> dict[str, Any]:
    """`{"fields": {name: text}, "files": [{name, filename, content_type, body}]}`.

    A part is a file if it has a filename or if its type is not text (`filename` is None then). Repeated fields are
    lists. A part's own charset overrides a field `_charset_` (RFC 7578 §4.6), which overrides that of the content type.
    Raises ValueError naming what is malformed.
    """
    if not boundary:
        raise ValueError("the content type names no boundary")
    parts = list(_parts(body, b"--" + boundary.encode("utf-8", "surrogatepass")))
    named = [charset_of(content.decode("ascii", "replace")) for head, content in parts if b"_charset_" in head]
    charset = next(filter(None, named), None) or charset_of(charset)
    fields: list[tuple[str, str]] = []
    files: list[dict[str, Any]] = []
    for head, content in parts:
        headers = _headers(head, charset)
        disposition, parameters = mediatypes.parse(headers.get("content-disposition", ""))
        if disposition != "form-data" or "name" not in parameters:
            raise ValueError("a part has no Content-Disposition header of the form form-data; name=...")
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
    """(headers, content) of each part between the delimiter lines of RFC 2046 §5.1.1.

    Text before the first and after the last delimiter is ignored. Only the contents are copied, because the body may
    take much of the instance's memory.
    """
    line = b"\r\n" + delimiter
    at = len(delimiter) if body.startswith(delimiter) else _after(body, line, 0)
    while not body.startswith(b"--", at):
        line_end = _after(body, b"\r\n", at) - 2
        if body[at:line_end].strip(b" \t"):
            raise ValueError("a line begins with the boundary but is not a delimiter")
        next_at = _after(body, line, line_end)
        yield _part(body, line_end, next_at - len(line))
        at = next_at


def _after(body: bytes, sought: bytes, start: int) -> int:
    """The index after the next occurrence."""
    found = body.find(sought, start)
    if found < 0:
        raise ValueError("the closing boundary is missing")
    return found + len(sought)


def _part(body: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """Split a part into headers and content. `start` is the end of the delimiter line, so that headers may be empty."""
    blank = body.find(b"\r\n\r\n", start, end)
    if blank < 0:
        raise ValueError("a part has no empty line after its headers")
    if blank - start > _MAX_PART_HEADERS_BYTES:
        raise ValueError(f"the headers of a part are longer than {_MAX_PART_HEADERS_BYTES} bytes")
    return body[start:blank], body[blank + 4 : end]


def _headers(head: bytes, charset: str | None) -> dict[str, str]:
    """Lower-case name → value. Names of fields and files are in the form's charset, without escapes (RFC 7578 §5.1)."""
    headers = {}
    for line in decode_text(head, charset).split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a part has a header line without a colon")
        headers[name.strip().lower()] = value.strip()
    return headers


def _filename(parameters: dict[str, str]) -> str | None:
    # RFC 7578 §4.2 forbids `filename*`, but some clients send only that for non-ASCII names (RFC 8187).
    extended = parameters.get("filename*")
    if "filename" in parameters or extended is None:
        return parameters.get("filename")
    charset, _, name = extended.split("'", 2) if extended.count("'") >= 2 else (UTF_8, "", extended)
    return decode_text(_unquoted(name.encode("utf-8", "replace")), charset)


def _pairs(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and value, unescaped. One pair at a time, because the body may be large, and not a form if curl sent it."""
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


def _named_in(body: bytes, field: bytes) -> str | None:
    """The charset that a field names, if the field exists and the charset is known."""
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
