"""JSON encoders and decoders that are made once.

`json.dumps` with separators, and even `JSONEncoder.encode`, build a new C encoder at every call, which takes longer
than encoding a small reply does. What CPython builds there is built here once, where the interpreter has it.
"""

import json
from collections.abc import Callable
from json import encoder as _python
from typing import Any

scan: "Callable[[str, int], tuple[Any, int]]" = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""Decode the value that begins at an index; with where it ends. For JSON of ours, without white space around it."""


def make_encoder(*, default: "Callable[[Any], Any] | None" = None, ascii_only: bool) -> "Callable[[Any], str]":
    """A function from a value to compact JSON; `default` simplifies what JSON does not know. It refuses NaN.

    It raises TypeError, ValueError or, of a structure that contains itself, RecursionError.
    """
    make = getattr(_python, "c_make_encoder", None)
    if make is None:  # an interpreter without the accelerator
        return json.JSONEncoder(
            ensure_ascii=ascii_only, allow_nan=False, check_circular=False, separators=(",", ":"), default=default
        ).encode
    text = _python.encode_basestring_ascii if ascii_only else _python.encode_basestring
    encode = make(None, default or _refuse, text, None, ":", ",", False, False, False)
    return lambda value: "".join(encode(value, 0))


def _refuse(value: Any) -> Any:
    raise TypeError(f"object of type {type(value).__name__} cannot be encoded")
