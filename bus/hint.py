"""The end of a message: the known name that a wrong one is closest to, or all of them."""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST_NAMES = 20


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` most likely means, or None if none is close."""
    return next(iter(get_close_matches(name, known, n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the closest known name, or nothing if none is close."""
    found = closest(name, known)
    return f" (did you mean {found!r}?)" if found is not None else ""


def those(plural: str, known: Iterable[str]) -> str:
    """Return `the functions here are a, b`, of many the first ones, or that there are none. `plural` names them."""
    names = sorted(known)
    if not names:
        return f"there are no {plural} here"
    more = f" and {len(names) - _MOST_NAMES} more" * (len(names) > _MOST_NAMES)
    return f"the {plural} here are {', '.join(names[:_MOST_NAMES])}{more}"
