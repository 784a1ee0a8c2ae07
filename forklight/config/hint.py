"""The end of a message: the known name that a wrong one is closest to, or the value in the right form."""

import os
from collections.abc import Iterable
from datetime import date, time
from pathlib import Path
from typing import Any

from bus import hint


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what `bus.hint.did_you_mean` does for `name` in small letters, which all our names have."""
    return hint.did_you_mean(name.lower(), known)


def near_file(path: Path) -> str:
    """Return the same for a file or directory that does not exist, among those beside it. Blocks."""
    try:
        return "" if path.exists() else did_you_mean(path.name, sorted(os.listdir(path.parent)))
    except OSError:
        return ""


def right_form(value: Any, expected: type) -> str:
    """Return `: write ...` if a TOML value of the wrong type shows what was meant, or nothing."""
    if expected is str and isinstance(value, bool):
        return f': write "{str(value).lower()}"'
    if expected is str and isinstance(value, date | time):
        return f': write "{value.isoformat()}"'
    if expected is str and isinstance(value, int | float):
        return f': write "{value}"'
    if expected is int and isinstance(value, str) and value.isdecimal():
        return f": write {value}"
    if expected is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return f": write {value.lower()}"
    return ""
