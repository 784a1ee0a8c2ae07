"""Handlers that import in their bodies."""

import os
import sys
import time


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


def bad(event: dict[str, object]) -> object:
    """Import `colorsys`, then the modules in the data, which are libraries of the tests."""
    before = _seen("colorsys", "good", *event["data"])  # type: ignore[misc]
    import colorsys  # noqa: F401

    os.environ["IN_A_CALL"] = "1"
    for name in event["data"]:  # type: ignore[attr-defined]
        __import__(str(name))
    import good  # noqa: F401

    return before


def waits(event: dict[str, object]) -> object:
    """Import, tell by a file that it runs, then wait for another file."""
    import colorsys  # noqa: F401

    folder = str(event["data"])
    open(os.path.join(folder, "runs"), "w").close()
    while not os.path.exists(os.path.join(folder, "go on")):
        time.sleep(0.01)
    return os.getpid()
