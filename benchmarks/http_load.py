"""The load generator, wrk: that it is there, and one run of it."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

_SCRIPT = Path(__file__).with_name("peers") / "load.lua"
_TIMEOUT_S = 10
"""A request that takes longer has failed."""


class Load(NamedTuple):
    """What one run of wrk saw; latencies are of all its connections together."""

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    p999_us: int
    failed: int


class LoadError(Exception):
    """No load could be made, or it was not answered; the message says why and what to do."""


def require_wrk() -> None:
    """Install wrk, as root on Debian. Raises LoadError where that is for somebody else to do."""
    if shutil.which("wrk"):
        return
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise LoadError("the load generator wrk is missing: `apt-get install wrk`, or https://github.com/wg/wrk")
    try:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "wrk"], check=True, timeout=300)
    except subprocess.SubprocessError as error:
        raise LoadError(f"wrk could not be installed, install it by hand: {error}") from error


def run_wrk(url: str, *, connections: int, seconds: int, body_bytes: int = 0) -> Load:
    """GETs, or POSTs of `body_bytes`, one after the other on each connection. Raises LoadError if any fails."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={_TIMEOUT_S}s", "-s", str(_SCRIPT), url]
    argv += ["--", str(body_bytes)] if body_bytes else []
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 30)
    load = Load(**json.loads(done.stdout.splitlines()[-1]))
    if load.failed or not load.requests:
        raise LoadError(f"{load.failed} requests failed, {load.requests} were answered: {' '.join(argv)}")
    return load
