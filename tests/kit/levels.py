"""The levels of isolation that this machine has, for tests that run at each of them."""

import os
from functools import cache

from sandbox import isolation
from sandbox.containment import Containment, Level
from sandbox.levels import Asked, CannotBeHad, Found, resolve
from tests.kit.accounts import account


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


@cache
def usual() -> Containment:
    """What contains the functions of a tree that ask for nothing: level `limits`, or `FORKLIGHT_TEST_LEVEL`."""
    return contained(Level(os.environ.get("FORKLIGHT_TEST_LEVEL", Level.LIMITS)))
