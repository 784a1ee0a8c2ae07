"""Bodies from one of `json`, `data`, `text` and `form` with `files`, with the matching content type."""

import mimetypes
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sandbox.guest._forklight.encoding import JSON, TEXT, encode_json, encode_text

NOTHING: Any = object()
"""The mark of an argument that is not given: None is a value, the JSON null."""

FORM = "application/x-www-form-urlencoded"


FILE = "application/octet-stream"
MULTIPART = "multipart/form-data"

Upload = bytes | Path | tuple[str, bytes] | tuple[str, bytes, str]
"""A file of a form: its contents, its path, `(name, contents)` or `(name, contents, content type)`."""
Files = Mapping[str, Upload | list[Upload]]
"""Uploads by the name of their field, which may have a list of them."""

_ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A", ord("\\"): "\\\\"}
"""In names of fields and files, as browsers escape them (HTML §4.10.21.8), and what a quoted string needs."""


def encode(
    *,
    json: object = NOTHING,
    data: bytes | None = None,
    text: str | None = None,
    form: Mapping[str, object] | None = None,
    files: Files | None = None,
) -> tuple[bytes, str | None]:
    """`(body, content type)`; `data` has no type of its own. Raises ValueError if more than one is given.

    `json` is encoded as a handler's result is; of a form's values, lists are several fields of that name. With `files`,
    even an empty mapping, the form is multipart/form-data. Raises OSError if a file cannot be read.
    """
    given = [name for name, value in (("data", data), ("text", text), ("form", form)) if value is not None]
    given += [] if json is NOTHING else ["json"]
    if len(given) > 1 or (files is not None and given not in ([], ["form"])):
        given += [] if files is None else ["files"]
        raise ValueError(f"a body is made of one of json, data, text and form with files, not of {' and '.join(given)}")
    if files is not None:
        return _multipart(form or {}, files)
    if json is not NOTHING:
        return encode_json(json), JSON
    if text is not None:
        return encode_text(text), TEXT
    if form is not None:
        return urlencode(form, doseq=True).encode(), FORM
    return data or b"", None


def cookie(cookies: Mapping[str, str]) -> str:
    """Return the value of the header Cookie."""
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def _multipart(form: Mapping[str, object], files: Files) -> tuple[bytes, str]:
    """Return the form as a browser sends it (RFC 7578). The boundary is a hash: equal forms are equal bodies."""
    parts = [*_field_parts(form), *_file_parts(files)]
    boundary = f"forklight-{sha256(repr(parts).encode()).hexdigest()[:32]}"
    body = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary.encode(), head.encode(), part) for head, part in parts)
    return body + b"--%s--\r\n" % boundary.encode(), f"{MULTIPART}; boundary={boundary}"


def _field_parts(form: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
    for name, value in form.items():
        for one in value if isinstance(value, list | tuple) else (value,):
            yield _disposition(name), one if isinstance(one, bytes) else str(one).encode()


def _file_parts(files: Any) -> Iterator[tuple[str, bytes]]:
    if not isinstance(files, Mapping):
        raise ValueError(f"files is {files!r:.60}: give a dict; a field of several files has a list of them")
    for field, value in files.items():
        for upload in value if isinstance(value, list) else (value,):
            name, contents, content_type = _file(field, upload)
            head = f'{_disposition(field)}; filename="{name.translate(_ESCAPES)}"'
            yield f"{head}\r\nContent-Type: {content_type}", contents


def _disposition(field: str) -> str:
    return f'Content-Disposition: form-data; name="{field.translate(_ESCAPES)}"'


def _file(field: str, upload: Any) -> tuple[str, bytes, str]:
    """Return the name, contents and content type of an upload. Raises OSError, ValueError."""
    match upload:
        case bytes():
            return field, upload, FILE
        case Path():
            return upload.name, upload.read_bytes(), _type_of(upload.name)
        case (str(name), bytes(contents)):
            return name, contents, _type_of(name)
        case (str(name), bytes(contents), str(content_type)):
            return name, contents, content_type
    raise ValueError(
        f"the file {field!r} is {upload!r:.60}: give bytes, a Path, or a tuple of name, bytes and perhaps content type"
    )


def _type_of(name: str) -> str:
    return mimetypes.guess_type(name)[0] or FILE
