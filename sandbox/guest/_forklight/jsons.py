"""JSON encoders and decoders that are created once.

`json.dumps` with separators, and even `JSONEncoder.encode`, create a new C encoder in every call, which takes longer
than encoding a small reply. This module creates CPython's C encoder once, where the interpreter has it.
"""

import json
from collections.abc import Callable
from json import encoder as _python
from typing import Any

scan: "Callable[[str, int], tuple[Any, int]]" = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""Decode the value at an index; returns it and its end. For our own JSON: it accepts no surrounding white space."""


def make_encoder(*, default: "Callable[[Any], Any] | None" = None, ascii_only: bool) -> "Callable[[Any], str]":
    """A function that encodes a value as compact JSON. `default` converts values of other types; NaN is refused.

    The function raises TypeError, ValueError or, if a structure contains itself, RecursionError.
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
