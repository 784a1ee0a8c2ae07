"""Watching an import that starts threads, each in a process of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.guest import run_guest

WATCH = """
import json, os, threading
sys.path.insert(1, os.getcwd())
from _forklight.threads import watch_threads
finders, start = list(sys.meta_path), threading.Thread.start
with watch_threads() as seen:
    __import__("app")
assert sys.meta_path == finders
assert threading.Thread.start is start
print(json.dumps([seen.count, seen.modules, seen.names, seen.owner]), flush=True)
os._exit(0)  # the threads never end
"""

MINE = "mine, started at app.py:3"
FOREVER = "import threading\nthreading.Thread(target=threading.Event().wait, name='{}', daemon=True).start()\n"


def watch(cwd: Path, **modules: str) -> Any:
    for name, source in modules.items():
        (cwd / f"{name}.py").write_text(source)
    done = run_guest(WATCH, cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_threads(tmp_path: Path) -> None:
    assert watch(tmp_path, app="import json, helper", helper="") == [1, [], [], ""]


def test_a_thread_that_has_ended_is_not_told_of(tmp_path: Path) -> None:
    source = "import threading\nthread = threading.Thread(target=print)\nthread.start(); thread.join()"
    assert watch(tmp_path, app=source) == [1, [], [], ""]


def test_the_module_that_started_it_is_named(tmp_path: Path) -> None:
    found = watch(tmp_path, app="import helper, other", helper=FOREVER.format("poller"), other="import json")
    assert found == [2, ["helper"], ["poller, started at helper.py:2"], "helper (poller, started at helper.py:2)"]


def test_a_python_thread_tells_its_module_by_what_it_runs(tmp_path: Path) -> None:
    source = "import threading, helper\nrun = lambda: threading.Event().wait()\n"
    source += "def go(): threading.Thread(target=run, name='mine', daemon=True).start()\ngo()"
    assert watch(tmp_path, app=source, helper="") == [2, ["app"], [MINE], f"app ({MINE})"]


@pytest.mark.parametrize("last", ["", "import json"])
def test_a_thread_python_does_not_know(tmp_path: Path, last: str) -> None:
    """Started as by a library in C, here with the one C function at hand that starts threads."""
    source = (
        "import _thread\n"
        "lock = _thread.allocate_lock(); lock.acquire(); ready = _thread.allocate_lock(); ready.acquire()\n"
        "_thread.start_new_thread(lambda: (ready.release(), lock.acquire()), ())\n"
        "ready.acquire()\n"
    )
    found = watch(tmp_path, app=f"import native\n{last}", native=source)
    assert found == [2, ["native"], [], "native"]
