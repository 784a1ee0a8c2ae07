"""Functions around a fork: every fork runs them but that of an instance, whose child can log and start threads, too."""

import subprocess
import sys
from pathlib import Path

import pytest

import sandbox.guest
from tests.kit.guest import PROCESS_TIMEOUT_S

GUEST = Path(sandbox.guest.__file__).parent
SCRIPT = f"""
import os, sys
sys.path.insert(0, {str(GUEST)!r})
assert not {{"threading", "logging"}} & sys.modules.keys()
from _forklight import at_fork
import logging, threading

ran = []
at_fork.register(before=lambda: ran.append("before"), after_in_child=lambda: ran.append("child"))
at_fork.register(before=lambda: ran.append("first"), after_in_parent=lambda: ran.append("parent"))
os.register_at_fork(after_in_child=lambda: ran.append("always"))
logging.basicConfig(stream=sys.stdout, format="%(message)s")

def child():
    thread = threading.Thread(target=logging.warning, args=(ran,))
    thread.start()
    thread.join()
    assert threading.enumerate() == [threading.main_thread()]
    assert threading.main_thread().ident == threading.get_ident()
    assert logging._lock.acquire(blocking=False)
    sys.stdout.flush()
    os._exit(0)

def waited(pid):
    if pid == 0:
        child()
    assert os.waitpid(pid, 0)[1] == 0
    print("parent", ran, flush=True)
    ran.clear()

waited(at_fork.fork_bare())
waited(os.fork())
"""


@pytest.mark.ordinary_user
def test_only_the_fork_of_an_instance_leaves_them_out() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=PROCESS_TIMEOUT_S,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "['always']",
        "parent []",
        "['first', 'before', 'child', 'always']",
        "parent ['first', 'before', 'parent']",
    ]
