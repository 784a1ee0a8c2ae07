"""Handlers that import in their bodies."""

import asyncio
import os
import sys


def _seen(*names: str) -> dict[str, bool]:
    return {name: name in sys.modules for name in names}


def imports(event: object) -> object:
    before = _seen("colorsys", "wave")
    import colorsys  # noqa: F401
    import wave  # noqa: F401

    return {"before": before, "pid": os.getpid()}


def nothing(event: object) -> object:
    return "nothing"


def fails_first(event: dict[str, object]) -> object:
    before = _seen("colorsys")
    if event["data"] == "fail":
        raise ValueError("as it was told")
    import colorsys  # noqa: F401

    return before


def own(event: object) -> object:
    before = _seen("deferred", "colorsys")
    import deferred

    return {"before": before, "made_by": deferred.MADE_BY, "pid": os.getpid()}


def draws(event: object) -> object:
    before = "draws" in sys.modules
    import draws as library

    return {"before": before, "number": library.DICE.random()}


def bad(event: dict[str, object]) -> object:
    """Import `colorsys`, then the modules in the data, which are libraries of the tests."""
    before = _seen("colorsys", "good", *event["data"])  # type: ignore[misc]
    import colorsys  # noqa: F401

    os.environ["IN_A_CALL"] = "1"
    for name in event["data"]:  # type: ignore[attr-defined]
        __import__(str(name))
    import good  # noqa: F401

    return before


async def imports_async(event: object) -> object:
    before = _seen("colorsys", "wave")
    import colorsys  # noqa: F401

    await asyncio.sleep(0)
    import wave  # noqa: F401

    return {"before": before, "pid": os.getpid()}
