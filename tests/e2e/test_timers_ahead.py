"""A timer's event finds its instance ready, although its function keeps no process between two ticks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.kit.application import open_folder
from tests.kit.served import LIMIT_S, Server, serving

TOML = """
[defaults]
rest = "none"
keep_alive = "0s"
template_keep_alive = "0s"
isolation = "limits"

[functions.tick]
handler = "tick:handler"
timer = { every = "3s" }

[functions.other]
handler = "other:handler"
http = "GET /"
"""
TICK = """
import time

time.sleep(0.4)


def handler(event):
    return 1
"""
OTHER = "def handler(event):\n    return 1\n"


async def ticks(server: Server) -> AsyncIterator[dict[str, Any]]:
    """The log's entries of the ticks to come, each once it has ended, with `rested`: no process was there before it."""
    seen = len(server.entries(trigger="timer"))
    rested = False
    while True:
        rested = rested or not server.zygotes()
        found = server.entries(trigger="timer")
        if len(found) > seen:
            yield found[seen] | {"rested": rested}
            seen, rested = seen + 1, False
        await asyncio.sleep(0.02)


async def test_timers_are_never_cold_while_nothing_is_held_between_ticks_and_reloads_change_nothing_of_that() -> None:
    with open_folder() as folder:
        await _never_cold(folder)


async def _never_cold(folder: Path) -> None:
    _write(folder, "")
    async with asyncio.timeout(2 * LIMIT_S), serving(folder, "--log-format", "json") as server:
        coming = ticks(server)
        first = await anext(coming)  # which may be due as soon as the server is up
        second = await anext(coming)
        assert (second["start"], second["rested"]) == ("warm", True)

        _write(folder, "# changed\n")
        assert "other, tick changed" in (await server.run("reload")).stdout
        while (tick := await anext(coming))["version"] == first["version"]:
            assert tick["start"] == "warm"
        assert tick["start"] == "warm"


def _write(folder: Path, more: str) -> None:
    (folder / "forklight.toml").write_text(TOML)
    (folder / "tick.py").write_text(TICK + more)
    (folder / "other.py").write_text(OTHER + more)
