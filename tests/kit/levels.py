"""The levels of isolation that this machine has, for tests that run at each of them."""

from functools import cache

from sandbox import isolation
from sandbox.containment import Containment, Level
from sandbox.levels import Asked, CannotBeHad, Found, resolve
from tests.kit.support import account


@cache
def found() -> Found:
    """The mechanisms that there are for functions of this user; as root, of another one."""
    return isolation.find(account())


def contained(level: Level) -> Containment:
    """What a function has that asks for this level. Raises CannotBeHad."""
    return resolve(Asked(level=level), found())


def why_not(level: Level) -> str:
    """Why the level cannot be had here; empty if it can."""
    try:
        contained(level)
    except CannotBeHad as error:
        return str(error)
    return ""


def levels() -> tuple[Level, ...]:
    """The levels to be had here, lowest first."""
    return tuple(level for level in Level if not why_not(level))
