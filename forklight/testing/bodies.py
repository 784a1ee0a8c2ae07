"""Bodies from one of `json`, `data`, `text` and `form`, with the matching content type. Pure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from sandbox.guest._forklight.encoding import JSON, TEXT, encode_json, encode_text

NOTHING: Any = object()
"""The mark of an argument that is not given: None is a value, the JSON null."""

FORM = "application/x-www-form-urlencoded"


def encode(
    *,
    json: object = NOTHING,
    data: bytes | None = None,
    text: str | None = None,
    form: Mapping[str, object] | None = None,
) -> tuple[bytes, str | None]:
    """`(body, content type)`; `data` has no type of its own. Raises ValueError if more than one is given.

    `json` is encoded as a handler's result is; of a form's values, lists are several fields of that name.
    """
    given = [name for name, value in (("data", data), ("text", text), ("form", form)) if value is not None]
    given += [] if json is NOTHING else ["json"]
    if len(given) > 1:
        raise ValueError(f"a body is made of one of json, data, text and form, not of {' and '.join(given)}")
    if json is not NOTHING:
        return encode_json(json), JSON
    if text is not None:
        return encode_text(text), TEXT
    if form is not None:
        return urlencode(form, doseq=True).encode(), FORM
    return data or b"", None
