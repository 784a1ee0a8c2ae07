"""Stacks that faulthandler writes in real processes, without the guest's own frames."""

import subprocess
import sys
from pathlib import Path

from sandbox.stacks import INTERRUPTED, NOTHING, Printed, of_call, readable

FUNCTION = """
import faulthandler, threading

def deep():
    faulthandler.dump_traceback(all_threads=True)

def handler():
    deep()

def handler_with_a_thread():
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    deep()
    event.set()
    thread.join()
"""


def dump(folder: Path, call: str) -> str:
    """The dump of faulthandler when a file of the guest calls the function."""
    guest = folder / "_forklight" / "main.py"
    guest.parent.mkdir()
    (folder / "function.py").write_text(FUNCTION)
    guest.write_text(f"import sys; sys.path.insert(0, {str(folder)!r})\nimport function\n{call}\n")
    done = subprocess.run([sys.executable, str(guest)], capture_output=True, text=True, check=True, timeout=50)
    assert "/_forklight/main.py" in done.stderr
    return done.stderr


def functions(text: str) -> list[str]:
    return [line.split(" in ")[1] for line in text.splitlines() if " in " in line]


def test_the_handler_s_frames_stay_and_the_guest_s_go(tmp_path: Path) -> None:
    text = readable(dump(tmp_path, "function.handler()"))
    assert functions(text) == ["deep", "handler"]
    assert "_forklight" not in text


def test_each_thread_keeps_its_own(tmp_path: Path) -> None:
    text = readable(dump(tmp_path, "function.handler_with_a_thread()"))
    assert functions(text)[-2:] == ["deep", "handler_with_a_thread"]
    assert "wait" in functions(text)
    assert text.count("hread 0x") == 2


def test_without_a_dump_it_says_why() -> None:
    assert readable("") == NOTHING
    assert readable('  File "/opt/_forklight/main.py", line 3 in main\n\n') == NOTHING


def test_of_several_tasks_a_call_has_its_own() -> None:
    tasks = "\x1f3\x1fTask:\n  in a\n\x1f13\x1fTask:\n  in b\n"
    assert of_call(tasks, 3) == "Task:\n  in a"
    assert of_call(tasks, 13) == "Task:\n  in b"
    assert of_call(tasks, 1) == of_call("", 3) == ""


def test_the_stack_that_node_js_prints_is_taken_out_of_its_log() -> None:
    printed = Printed()
    stack = [INTERRUPTED, b"    at spin (/code/index.js:3:5)", b"    at /s/node/guest.js:1:1", b""]
    assert not printed.take(b"before")
    assert all(map(printed.take, stack))
    assert not any(map(printed.take, [b"after", b"    at home"]))
    assert printed.text == "JavaScript stack (most recent call first):\n    at spin (/code/index.js:3:5)"
