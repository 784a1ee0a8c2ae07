"""No conversion of what a stranger sent takes for ever, or fails in a way that nobody expects."""

import subprocess
import sys

import pytest

from tests.kit.broker import ROOT

LIMIT_S = 50.0
"""Some 10 s on an idle machine."""


@pytest.mark.invariant("I22")
@pytest.mark.parametrize("trigger", ["amqp", "http"])
def test_whatever_comes_is_converted_in_time(trigger: str) -> None:
    command = [sys.executable, "-m", "tests.kit.strangers", trigger]
    done = subprocess.run(command, cwd=ROOT, timeout=LIMIT_S, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
