"""The guest runs in any interpreter from Python 3.10 on: tries each that this machine has."""

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.guest import PROCESS_TIMEOUT_S

SELF_CHECK = Path(__file__).parents[2] / "kit" / "guest_selfcheck.py"


def _works(python: str) -> bool:
    """Whether it runs: a version manager leaves commands behind that only report that no version is selected."""
    if not os.access(python, os.X_OK):
        return False
    done = subprocess.run([python, "-I", "-c", ""], capture_output=True, timeout=PROCESS_TIMEOUT_S, check=False)
    return done.returncode == 0


def _interpreters() -> list[str]:
    on_path = [shutil.which(f"python3.{minor}") for minor in range(10, 20)]
    pyenv = os.path.expanduser(os.environ.get("PYENV_ROOT", "~/.pyenv"))
    managed = glob.glob(
        f"{pyenv}/versions/3.1[0-9].*/bin/python"
    )  # unlike pathlib's, it skips folders that it cannot read
    others = {os.path.realpath(path) for path in (*on_path, *managed) if path and _works(path)}
    return [sys.executable, *sorted(others - {os.path.realpath(sys.executable)})]


@pytest.mark.parametrize("python", _interpreters())
def test_the_guest_works_in(python: str) -> None:
    done = subprocess.run(
        [python, "-I", "-B", str(SELF_CHECK)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROCESS_TIMEOUT_S,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("checked\n", "", 0)
