"""What is left out when an instance tidies up, in a process of its own."""

from pathlib import Path

import pytest

from tests.kit.guest import run_guest

TIDY = """
import gc, os, weakref
from _forklight import tidying

class Cycle:
    def __init__(self):
        self.itself = self

tidying.prepare()
gc.freeze()
data, end = os.pipe()
{before}
found = weakref.ref(Cycle())
tidying.tidy(data)
print("kept" if found() else "collected")
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", "collected"),
        ("gc.disable()", "kept"),
        ("gc.disable(); kept = [[] for _ in range(200_000)]; gc.enable()", "kept"),
        ("os.write(end, b'a call')", "collected"),
    ],
    ids=["at once", "switched off", "too many objects", "a call waits"],
)
def test_tidying_up(tmp_path: Path, before: str, said: str) -> None:
    done = run_guest(TIDY.format(before=before), tmp_path)
    assert (done.stdout, done.stderr) == (f"{said}\n", "")
