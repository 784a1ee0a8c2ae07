"""What becomes of the process that builds a startup snapshot, in a process of its own."""

import re
from pathlib import Path

import pytest

from tests.kit.guest import run_guest

BUILD = """
import os, signal, socket
from _forklight import imports, posix, snapshot, wire
posix.become_subreaper()  # as templates are

def execute(data, blob):
    {does}
    os._exit(0)

try:
    found = snapshot.build(os.fork, execute, 1 << 20)
    print(found.memory[:])
except imports.LoadError as error:
    print(error.code, error.message)
"""
UNFIT = 'wire.write(data, wire.pack(wire.encode({"t": "unfit", "code": "A", "message": "no", "traceback": ""}), []))'


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ('os.write(blob, b"heap")', "b'heap'"),
        ('os.write(blob, b"heap"); os._exit(3)', "InitFailed loading it .* did not return: .* exit code 3"),
        ("pass", "InitFailed loading it .* did not return: .* exit code 0"),
        ("os.kill(os.getpid(), signal.SIGTRAP)", r"InitFailed Node.js could not write a startup snapshot \(SIGTRAP\)"),
        (UNFIT, "A no"),
        (f"{UNFIT}; os.write(blob, b'heap')", "A no"),
        (
            "os.write(data, bytes([0, 0, 0, 1, 0, 0, 0, 0]) + b'[')",
            "InitFailed its top-level code writes to a descriptor",
        ),
        ("os.write(data, bytes([0, 0, 0, 2, 0, 0, 0, 0]) + b'{}')", "InitFailed its top-level code writes to a descr"),
        ("os.ftruncate(blob, 1 << 19)", "InitFailed its startup snapshot cannot be kept: it has holes"),
        ("os.ftruncate(blob, 1 << 30)", "InitFailed its startup snapshot cannot be kept: it takes 1024 MiB"),
        ("os.write(blob, b'heap') if os.fork() else signal.pause()", "b'heap'"),
    ],
)
def test_what_becomes_of_the_process_that_builds_it(does: str, said: str, tmp_path: Path) -> None:
    done = run_guest(BUILD.replace("{does}", does), tmp_path)
    assert done.stderr == ""
    assert re.match(said, done.stdout)
