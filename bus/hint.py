"""The end of a message: the known name that a wrong one is closest to."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` most likely means, or None if none is close."""
    return next(iter(get_close_matches(name, known, n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the closest known name, or nothing if none is close."""
    found = closest(name, known)
    return f" (did you mean {found!r}?)" if found is not None else ""
