"""`network = ["host:port"]` as a server has it, with users of their own if it is root; and the end of that server."""

import asyncio
import os
import signal

import pytest

from sandbox.containment import Level
from tests.kit.application import application
from tests.kit.levels import why_not
from tests.kit.served import run, serving
from tests.kit.support import processes_with, until

pytestmark = pytest.mark.ordinary_user

TOML = """
[machine]
uids = "200000-200999"
[functions.reads]
handler = "f:reads"
http = "/reads"
isolation = "namespaces"
network = ["localhost:{port}"]
{more}
"""
CODE = """
import os, socket, subprocess
from urllib.request import urlopen

def stay(event):
    port = event["http"]["query"]["port"]
    subprocess.Popen(["sleep", f"1000.{port}"], start_new_session=True)
    return port

def reads(event):
    with urlopen(f"http://localhost:{stay(event)}/") as response:
        return {"said": response.read().decode(), "uid": os.getuid()}

def idle(event):
    stay(event)
    return os.getuid()
"""
IDLE = """
[functions.idle]
handler = "f:idle"
http = "/idle"
isolation = "limits"
"""


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    writer.close()


@pytest.mark.skipif(bool(why_not(Level.NAMESPACES)), reason="there are no boxes here")
async def test_a_function_reaches_its_places_and_ends_with_its_server() -> None:
    async with await asyncio.start_server(hello, "127.0.0.1", 0) as server_outside:
        port = server_outside.sockets[0].getsockname()[1]
        with application(TOML.format(port=port, more=IDLE), f=CODE) as folder:
            async with serving(folder) as server:
                found = (await server.get(f"/reads?port={port}")).json()
                assert found["said"] == "hello"
                uid = (await server.get(f"/idle?port={port}")).json()
                assert {found["uid"], uid} == ({200_001, 200_002} if os.geteuid() == 0 else {os.geteuid()})
                guests = processes_with(str(server.state / "guest"))
                assert len(guests) >= 5, "the zygote, two templates with an instance each, and the forwarder"
                assert len(processes_with(f"1000.{port}")) == 2
                server.send(signal.SIGKILL)
                await server.wait()
                await until(lambda: not (processes_with(str(server.state)) or processes_with(f"1000.{port}")))


async def test_places_that_cannot_be_are_refused_where_they_are_written() -> None:
    with application(TOML.format(port=1, more="").replace("localhost:1", "224.0.0.1:1"), f=CODE) as folder:
        told = await run("check", "--state", str(folder / "state"), cwd=folder)
        assert told.status == 2
        assert "functions.reads.network: 224.0.0.1 is not the address of one machine: write that" in told.stderr
