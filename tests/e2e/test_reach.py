"""What a function can reach of the server, whose user it shares if that is an ordinary one."""

import json
import os

import pytest

from tests.kit.application import application
from tests.kit.served import serving

pytestmark = pytest.mark.ordinary_user

TOML = '[functions.spy]\nhandler = "spy:spy"\nhttp = "/spy"\n'

SPY = """
import ctypes, json, os, subprocess, sys

PTRACE_ATTACH, PTRACE_DETACH = 16, 17

def look(pid):
    found = {}
    for name in ("environ", "mem", "maps", "auxv"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                found[name] = len(file.read(1)) if name != "mem" else 1
        except OSError as error:
            found[name] = error.strerror
    try:
        found["fd"] = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError as error:
        found["fd"] = error.strerror
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    attached = libc.ptrace(PTRACE_ATTACH, pid, None, None)
    found["ptrace"] = "attached" if attached == 0 else os.strerror(ctypes.get_errno())
    if attached == 0:
        os.waitpid(pid, 0)
        libc.ptrace(PTRACE_DETACH, pid, None, None)
    return found

def spy(event):
    pid = event["data"]["pid"]
    other = subprocess.run(
        [sys.executable, "-c", "import json, spy; print(json.dumps(spy.look(%d)))" % pid],
        capture_output=True, text=True, check=True,
    )
    return {"itself": look(pid), "a program": json.loads(other.stdout)}
"""


async def test_no_function_can_look_into_the_server() -> None:
    """Not with the right of being the same user, neither by itself nor by a program that it starts."""
    with application(TOML, spy=SPY) as folder:
        async with serving(folder) as server:
            reply = await server.post("/spy", {"pid": server.process.pid})
    found = json.loads(reply.body)

    refused = {"Permission denied", "Operation not permitted"}
    for way in ("itself", "a program"):
        assert set(found[way].values()) <= refused, (way, found[way], os.getuid())
