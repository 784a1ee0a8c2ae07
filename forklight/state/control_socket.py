"""The path of a state directory's control socket."""

import os
from hashlib import sha256
from pathlib import Path

_LONGEST_PATH = 100
"""Shorter than the 107 bytes that unix(7) allows."""


def socket_path(state: Path) -> Path:
    """Return the path of the control socket: in the state directory, or in the runtime directory if too long."""
    path = state / "control.sock"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    runtime = Path("/run") if os.getuid() == 0 else Path(f"/run/user/{os.getuid()}")
    return runtime / f"forklight-{sha256(os.fsencode(state)).hexdigest()[:12]}.sock"
