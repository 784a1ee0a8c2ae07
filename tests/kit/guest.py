"""What the tests of the guest's author side share: invoke frames, functions, and processes that import the guest."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.guest._forklight.handler import Function
from sandbox.guest._forklight.invocation import Reply, run

GUEST = Path(__file__).parents[2] / "sandbox" / "guest"
PROCESS_TIMEOUT_S = 50


def make_function(call: Callable[..., Any], max_result: int = 6 * 1024 * 1024) -> Function:
    return Function(name="shop", version="v1", call=call, max_result=max_result)


def make_head(timeout_s: float = 60.0, **fields: Any) -> dict[str, Any]:
    """The header of an invoke frame, of an event with the given fields."""
    event = {"id": "e1", "source": "/test", "type": "forklight.call", "call": {"caller": "cli"}, **fields}
    deadline_ns = time.monotonic_ns() + int(timeout_s * 1e9)
    return {"t": "invoke", "i": 7, "deadline_ns": deadline_ns, "attempt": 2, "start": "fork", "event": event}


def never() -> bool:
    return False


class Answer(NamedTuple):
    """A reply with its header decoded, without `log`."""

    header: dict[str, Any]
    chunks: list[bytes]


def decoded(reply: Reply) -> Answer:
    return Answer(json.loads(f"{{{reply.fields}}}"), reply.chunks)


def call(handler: Callable[..., Any], body: bytes = b"", **fields: Any) -> Answer:
    """One invocation of a sync handler with a deadline that stays ahead."""
    return decoded(run(make_function(handler), make_head(**fields), body, never))


def run_guest(script: str, cwd: Path, *, interpreter: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Runs a script in a process that, like a template, has the guest and nothing of the application to import."""
    prelude = f"import sys; sys.path.insert(0, {str(GUEST)!r}); sys.dont_write_bytecode = True\n"
    return subprocess.run(
        [interpreter, "-I", "-c", prelude + script],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PROCESS_TIMEOUT_S,
        check=False,
    )
