"""`forklight top`: printed where there is no terminal, drawn on one, which is then as it was."""

import asyncio
import contextlib
import os
import pty
import re
import signal

import pytest

from tests.kit import installed
from tests.kit.application import application, function
from tests.kit.served import environ, serving
from tests.kit.support import until

pytestmark = pytest.mark.any_user
ALTERNATE, NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"


async def test_without_a_terminal_it_is_printed() -> None:
    with application(function("pid") + function("fail")) as folder:
        async with serving(folder) as server:
            looking = asyncio.create_task(server.run("top", "--interval", "300ms", "-n", "2"))
            while not looking.done():
                await server.get("/pid")
            done = await looking
            wrong = await server.run("top", "--interval", "1")
    pages = re.split(r"^pid \d+, ", done.stdout, flags=re.MULTILINE)[1:]
    assert (done.status, len(pages)) == (0, 2)
    assert " calls/s\n" in pages[1]
    titles, first, second = (line.split() for line in pages[1].splitlines()[2:5])
    assert titles == ["FUNCTION", "CALLS/S", "FAIL/S", "COLD", "QUEUE", "RUN", "CPU", "IDLE", "BUSY", "WAIT", "MEMORY"]
    assert (first[0], second[:3]) == ("pid", ["fail", "0.0", "0.0"])
    assert float(first[1].replace(",", "")) > 0
    assert (wrong.status, "is not a duration" in wrong.stderr) == (2, True)


async def test_a_terminal_is_drawn_on_and_given_back() -> None:
    with application(function("pid")) as folder:
        async with serving(folder) as server:
            ours, theirs = pty.openpty()
            os.set_blocking(ours, False)
            process = await asyncio.create_subprocess_exec(
                *(str(installed.command()), "top", "--interval", "50ms"),
                cwd=server.folder,
                env=environ(folder, TERM="xterm", COLUMNS="120", LINES="30"),
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
            )
            os.close(theirs)
            try:
                drawn = bytearray()
                await until(lambda: b"calls/s" in _read(ours, drawn) and b"MEMORY" in drawn)
                process.send_signal(signal.SIGINT)
                await until(lambda: NORMAL in _read(ours, drawn))
                assert await process.wait() == 0
            finally:
                os.close(ours)
    assert drawn.index(ALTERNATE) < drawn.index(b"calls/s")
    assert b"Traceback" not in drawn


def _read(terminal: int, drawn: bytearray) -> bytearray:
    with contextlib.suppress(OSError):  # nothing yet, or nobody draws any more
        drawn += os.read(terminal, 65536)
    return drawn


async def test_without_a_server_it_says_so() -> None:
    with application(function("pid")) as folder:
        async with serving(folder) as server:
            pass
        done = await server.run("top")
    assert (done.status, "no server runs on " in done.stderr) == (1, True)
