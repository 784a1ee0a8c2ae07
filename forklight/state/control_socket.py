"""Where the control socket of a state directory lies."""

import os
from hashlib import sha256
from pathlib import Path

_LONGEST_PATH = 100
"""A unix socket's path has at most 107 bytes (unix(7))."""


def socket_path(state: Path) -> Path:
    """Where the control socket of this state directory lies: in it, or in the runtime directory if that is too long."""
    path = state / "control.sock"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    runtime = Path("/run") if os.getuid() == 0 else Path(f"/run/user/{os.getuid()}")
    return runtime / f"forklight-{sha256(os.fsencode(state)).hexdigest()[:12]}.sock"
