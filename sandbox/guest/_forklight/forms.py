"""The two encodings of HTML forms: x-www-form-urlencoded (WHATWG URL §5) and multipart/form-data (RFC 7578)."""

from collections.abc import Iterable
from typing import Any

from . import mediatypes
from .charsets import decode_text

_MAX_PART_HEADERS_BYTES = 16 * 1024


def urlencoded(text: str) -> dict[str, Any]:
    """Name → value, both as text; a name that comes several times → the list of its values. Raises ValueError."""
    from urllib.parse import parse_qsl

    return _gathered(parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict"))


def multipart(body: bytes, boundary: str | None) -> dict[str, Any]:
    """`{"fields": {name: text}, "files": [{name, filename, content_type, body}]}`; a part with a filename is a file.

    Fields that come several times are lists. Raises ValueError naming what is malformed.
    """
    if not boundary:
        raise ValueError("the content type names no boundary")
    fields: list[tuple[str, str]] = []
    files: list[dict[str, Any]] = []
    for part in _parts(body, b"--" + boundary.encode("utf-8")):
        headers, content = _part(part)
        disposition, parameters = mediatypes.parse(headers.get("content-disposition", ""))
        if disposition != "form-data" or "name" not in parameters:
            raise ValueError("a part has no Content-Disposition of form-data with a name")
        content_type = headers.get("content-type")
        filename = _filename(parameters)
        if filename is None:
            _, options = mediatypes.parse(content_type or "")
            fields.append((parameters["name"], decode_text(content, options.get("charset"))))
        else:
            file = {"name": parameters["name"], "filename": filename, "content_type": content_type, "body": content}
            files.append(file)
    return {"fields": _gathered(fields), "files": files}


def _parts(body: bytes, delimiter: bytes) -> Iterable[bytes]:
    """What lies between the delimiter lines of RFC 2046 §5.1.1; text before the first and after the last is no part."""
    first, *others = body.split(b"\r\n" + delimiter)
    pieces = [first.removeprefix(delimiter), *others] if first.startswith(delimiter) else others
    for piece in pieces:
        if piece.startswith(b"--"):
            return
        padding, newline, part = piece.partition(b"\r\n")
        if not newline or padding.strip(b" \t"):
            raise ValueError("a line begins with the boundary and is no delimiter")
        yield part
    raise ValueError("the closing boundary is missing")


def _part(part: bytes) -> tuple[dict[str, str], bytes]:
    # A part without headers begins with the empty line itself.
    head, blank, content = (b"\r\n" + part).partition(b"\r\n\r\n")
    if not blank:
        raise ValueError("a part has no empty line after its headers")
    if len(head) > _MAX_PART_HEADERS_BYTES:
        raise ValueError(f"the headers of a part are longer than {_MAX_PART_HEADERS_BYTES} bytes")
    headers = {}
    for line in head.decode("utf-8").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a part has a header line without a colon")
        headers[name.strip().lower()] = value.strip()
    return headers, content


def _filename(parameters: dict[str, str]) -> str | None:
    # RFC 7578 §4.2 forbids `filename*`, yet some clients send nothing else for names beyond ASCII (RFC 8187).
    extended = parameters.get("filename*")
    if "filename" in parameters or extended is None:
        return parameters.get("filename")
    from urllib.parse import unquote_to_bytes

    charset, _, name = extended.split("'", 2) if extended.count("'") >= 2 else ("utf-8", "", extended)
    return decode_text(unquote_to_bytes(name), charset)


def _gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in lists.items()}
