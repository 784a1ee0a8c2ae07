"""The versions of one function that serve side by side, and which of them an event runs on. Pure.

A *variant* is a version of a function beside the one that serves. It has a name of its own in the dispatcher: `ship@8`
is the `ship` of release 8. A *split* gives a variant a share of the function's events.

The choice depends on nothing but the event's key, or its id where the function has no keys, and on the variant. So an
event and its retries run on one version while the split stands, and so do all events of a key; and a larger share keeps
what it had. Each release draws anew, or the same customers would try every canary.
"""

from hashlib import blake2b

from msgspec import Struct

AT = "@"
"""Between a function's name, which has none, and the number of the release or an alias."""
_BITS = 53
"""As many as a float holds exactly, so that no point is 1."""


def variant_name(function: str, version: int | str) -> str:
    """Return the dispatcher's name of this version of a function."""
    return f"{function}{AT}{version}"


def base_name(name: str) -> str:
    """Return the function's own name, given that or the name of a variant."""
    return name.partition(AT)[0]


def number_of(name: str) -> int:
    """Return the release that the name of a variant has, 0 if it is a function's own name. Raises ValueError."""
    _, at, number = name.partition(AT)
    if not at:
        return 0
    if not number.isascii() or not number.isdecimal() or number.startswith("0"):
        raise ValueError(f"{name!r} does not name a variant: write FUNCTION{AT}NUMBER")
    return int(number)


class Split(Struct, frozen=True):
    """A `share` of the events, from 0 to 1, goes to the `variant`."""

    variant: str
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"a share is from 0 to 1, not {self.share:g}")

    def takes(self, text: str) -> bool:
        """Whether the variant runs an event with this key or id."""
        return point(self.variant, text) < self.share


def point(variant: str, text: str) -> float:
    """Where a key or an id falls, evenly in [0, 1). The same for every function of the variant's release."""
    salt = variant.partition(AT)[2]
    digest = blake2b(f"{salt}:{text}".encode(errors="replace"), digest_size=8).digest()
    return (int.from_bytes(digest) >> (64 - _BITS)) / (1 << _BITS)
