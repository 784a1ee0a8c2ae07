"""The record: what a server writes to its standard output, for people and for programs."""

import re

import pytest

from tests.e2e.application import application, function
from tests.e2e.served import serving
from tests.support import until

pytestmark = pytest.mark.ordinary_user
CLOCK = r"^\d\d:\d\d:\d\d\.\d{3} "


async def test_json_is_for_programs() -> None:
    with application(function("talk")) as folder:
        async with serving(folder) as server:
            await server.get("/talk")
            lines = await until(lambda: len(server.entries()) == 3 and server.entries())
    printed, logged, ended = lines
    assert (printed["text"], logged["text"]) == ("printed", "WARNING talk: logged")
    assert {line["invocation"] for line in lines} == {ended["invocation"]}
    assert (ended["function"], ended["trigger"], ended["outcome"], ended["status"]) == ("talk", "http", "ok", 200)
    assert ended["start"] != "warm"
    assert ended["start_ms"] > 0
    assert ended["run_ms"] > 0


async def test_text_is_for_people() -> None:
    with application(function("talk") + function("fail")) as folder:
        async with serving(folder, "--log-format", "text") as server:
            await server.get("/talk")
            await server.get("/fail")
            await until(lambda: "RuntimeError" in server.log)
            lines = server.log.splitlines()
    assert re.search(CLOCK + r"talk [0-9a-f]{8} printed$", lines[0])
    assert re.search(CLOCK + r"talk [0-9a-f]{8} WARNING talk: logged$", lines[1])
    assert re.search(CLOCK + r"talk [0-9a-f]{8} ← http ok 200 \w+, queue [\d.]+ ms, start [\d.]+ ms, run ", lines[2])
    assert re.search(CLOCK + r"fail [0-9a-f]{8} ← http error/RuntimeError 500 .* the secret is 42$", lines[3])
    assert lines[4] == "  Traceback (most recent call last):"


async def test_quiet_leaves_what_functions_write() -> None:
    with application(function("talk")) as folder:
        async with serving(folder, "--quiet") as server:
            await server.get("/talk")
            await server.get("/talk")
            await until(lambda: len(server.entries()) == 4)
            assert server.entries(outcome="ok") == []
