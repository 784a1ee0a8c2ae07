"""A server that was started at a terminal ends with it."""

import os
import pty
import subprocess

import pytest

from tests.kit import installed
from tests.kit.application import application, function

pytestmark = pytest.mark.ordinary_user


def test_a_server_whose_terminal_is_closed_ends() -> None:
    with application(function("pid")) as folder:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["setsid", "--ctty", installed.command(), "serve", "--listen", "127.0.0.1:0"],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "FORKLIGHT_STATE": str(folder / "state")},
            stdin=slave,
            stdout=subprocess.DEVNULL,
            stderr=slave,
        )
        os.close(slave)
        shown = ""
        while "Try: " not in shown:
            shown += os.read(master, 4096).decode()
        os.close(master)
        assert process.wait(timeout=40) == 0
