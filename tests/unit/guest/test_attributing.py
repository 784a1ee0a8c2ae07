"""Where several calls run at once, each line has the mark of its call, and each call its own CPU time."""

import asyncio
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.kit.guest import make_head, run_guest, serving

SERVE = """
import asyncio, concurrent.futures, logging, multiprocessing, os, socket, threading, time, warnings
from _forklight import aio, handler, logs, orphans, wire
logs.set_up(has_several_calls=True)

{source}

ours, theirs = socket.socketpair()
def server():
    for i in range(1, {calls} + 1):
        head = {{"t": "invoke", "i": i, "deadline_ns": 2**62, "attempt": 1, "start": "warm"}}
        head["event"] = {{"subject": str(i)}}
        ours.sendall(wire.pack(wire.encode(head), [])[0])
    frames = wire.Frames()
    for _ in range({calls}):
        print("reply", wire.read(ours.fileno(), frames)[0]["i"], file=sys.__stderr__)
    ours.shutdown(socket.SHUT_WR)

function = handler.Function(name="f", version="v", call=handler_, max_result=1000, concurrency=9)
threading.Thread(target=server).start()
aio.serve(function, theirs, 1, os.memfd_create("stack"), orphans.Orphans())
logs.flush()
"""
MARK = re.compile("\x1f([0-9]+)\x1f")


def run_calls(source: str, cwd: Path, *, calls: int = 2) -> "subprocess.CompletedProcess[str]":
    """Runs `handler_` of the source for as many events, all at once; the subject of an event is its number."""
    done = run_guest("import sys\n" + SERVE.format(source=source, calls=calls), cwd)
    assert done.returncode == 0, done.stderr
    return done


def lines_of(text: str) -> dict[str, list[str]]:
    """The lines of each call; those without a mark under an empty number."""
    found: dict[str, list[str]] = {}
    for line in text.split("\n")[:-1]:
        mark = MARK.match(line)
        found.setdefault(mark[1] if mark else "", []).append(line[mark.end() :] if mark else line)
    return found


def test_lines_of_calls_that_alternate_have_the_marks_of_their_calls(tmp_path: Path) -> None:
    source = """
async def handler_(event):
    me = event["subject"]
    for part in ("one ", "line", "\\n", "two\\nthree\\n", "no end"):
        print(me, part, end="", flush=True)
        sys.stderr.write(part)
        await asyncio.sleep(0.001)
"""
    done = run_calls(source, tmp_path, calls=3)
    for number in ("1", "2", "3"):
        assert lines_of(done.stdout)[number] == [
            f"{number} one {number} line{number} ",
            f"{number} two",
            "three",
            f"{number} no end",
        ]
        assert lines_of(done.stderr)[number] == ["one line", "two", "three", "no end"]
    assert lines_of(done.stderr)[""] == ["reply 1", "reply 2", "reply 3"]


WAYS = {
    "print": "print(text)",
    "writelines": "sys.stdout.writelines([text, '\\n'])",
    "task": "await asyncio.gather(say(text))",
    "callback": "asyncio.get_running_loop().call_soon(print, text); await asyncio.sleep(0.01)",
    "to_thread": "await asyncio.to_thread(print, text)",
    "executor": "await asyncio.get_running_loop().run_in_executor(None, print, text)",
    "pool": "with concurrent.futures.ThreadPoolExecutor(1) as pool: pool.submit(print, text)",
    "shared pool": "await asyncio.wrap_future(SHARED.submit(print, text))",
    "thread": "thread = threading.Thread(target=print, args=(text,)); thread.start(); thread.join()",
    "class of thread": "thread = Speaker(text); thread.start(); thread.join()",
    "timer": "thread = threading.Timer(0, print, (text,)); thread.start(); thread.join()",
    "forked child": "os.waitpid(os.fork() or child(text), 0)",
    "process": "one = FORK.Process(target=print, args=(text,)); one.start(); one.join()",
    "end of a process": "one = FORK.Process(target=end_with, args=(text,)); one.start(); one.join()",
    "pool of processes": "await asyncio.wrap_future(CHILDREN.submit(print, text))",
}
SPEAKERS = """
FORK = multiprocessing.get_context("fork")
SHARED = concurrent.futures.ThreadPoolExecutor(1)
CHILDREN = concurrent.futures.ProcessPoolExecutor(1, FORK)

async def say(text):
    print(text)

class Speaker(threading.Thread):
    def __init__(self, text):
        super().__init__()
        self.text = text
    def run(self):
        print(self.text)

def child(text):
    print(text)
    sys.stdout.flush()
    os._exit(0)

def end_with(text):
    print(text, end="")

async def handler_(event):
    me = event["subject"]
    for way, source in WAYS.items():
        text = f"by {way} of {me}"
        print("begun by", me, end=" ")
        await asyncio.sleep(0.001)
        scope = {"text": text}
        exec("async def run():\\n  " + source, globals() | scope, scope)
        await scope["run"]()
        print()
"""


def test_a_line_has_the_mark_of_its_call_whoever_writes_it(tmp_path: Path) -> None:
    done = run_calls(f"WAYS = {WAYS}\n{SPEAKERS}", tmp_path, calls=3)
    found = lines_of(done.stdout)
    assert found.keys() == {"1", "2", "3"}, done.stderr
    for number, lines in found.items():
        begun = f"begun by {number} "
        assert sorted(line.removeprefix(begun) for line in lines if "of" in line) == sorted(
            f"by {way} of {number}" for way in WAYS
        )
        assert "".join(lines).count(begun) == len(WAYS)


def test_records_and_warnings_have_the_mark_before_their_level(tmp_path: Path) -> None:
    source = """
async def handler_(event):
    await asyncio.sleep(0)
    logging.getLogger("shop").error("of %s\\nand more", event["subject"])
    warnings.warn("old " + event["subject"])
"""
    done = run_calls(source, tmp_path)
    for number in ("1", "2"):
        record, warning = lines_of(done.stderr)[number]
        assert json.loads(record.removeprefix("\x1e3\x1e"))["text"] == f"ERROR shop: of {number}\nand more"
        assert warning.startswith("\x1e2")
        assert f"UserWarning: old {number}" in warning


def test_lines_outside_of_calls_have_no_mark(tmp_path: Path) -> None:
    source = """
print("at import")
begun, done = threading.Event(), threading.Event()
def background():
    begun.wait(50)
    print("in the background")
    done.set()
threading.Thread(target=background).start()

async def handler_(event):
    print("mine", end="")
    begun.set()
    await asyncio.to_thread(done.wait)
"""
    done = run_calls(source, tmp_path, calls=1)
    assert lines_of(done.stdout) == {"": ["at import", "in the background"], "1": ["mine"]}


def test_a_forked_child_goes_on_with_its_own_call_alone(tmp_path: Path) -> None:
    """In a child asyncio has no running loop, but a bare `yield` still leads back to it."""
    source = """
async def handler_(event):
    if event["subject"] == "1":
        for _ in range(10):
            await asyncio.sleep(0)
        print("ends in the parent")
    else:
        pid = os.fork()
        for _ in range(50):
            await asyncio.sleep(0)
        print("forked")
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
"""
    assert lines_of(run_calls(source, tmp_path).stdout) == {"1": ["ends in the parent"], "2": ["forked", "forked"]}


def test_a_waiting_call_takes_little_memory(tmp_path: Path) -> None:
    source = """
inside, go = [], asyncio.Event()

def resident_kb():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024

async def handler_(event, context):
    inside.append(resident_kb() if len(inside) in (19, 519) else 0)
    if len(inside) == 520:
        print((inside[519] - inside[19]) / 500)
        go.set()
    await go.wait()
"""
    (kb,) = lines_of(run_calls(source, tmp_path, calls=520).stdout)["520"]
    assert 1 < float(kb) < 20


def test_what_a_call_left_unfinished_after_its_end_is_written_at_the_end(tmp_path: Path) -> None:
    source = """
async def late():
    await asyncio.sleep(0.02)
    print("late", end="")

async def handler_(event):
    if event["subject"] == "1":
        handler_.task = asyncio.create_task(late())
    else:
        await asyncio.sleep(0.1)
"""
    assert lines_of(run_calls(source, tmp_path).stdout) == {"1": ["late"]}


def test_an_endless_line_does_not_wait_for_its_end(tmp_path: Path) -> None:
    source = """
async def handler_(event):
    for _ in range(20):
        print("x" * 10_000, end="")
"""
    lines = lines_of(run_calls(source, tmp_path, calls=1).stdout)["1"]
    assert "".join(lines) == "x" * 200_000
    assert len(lines) > 1


BURN = """
def burn(ms):
    end = time.thread_time_ns() + ms * 1_000_000
    while time.thread_time_ns() < end:
        pass
"""


@pytest.mark.parametrize(
    "burns",
    [
        "burn(30)",
        "await asyncio.gather(*(aburn() for _ in range(3)))",
        "asyncio.get_running_loop().call_soon(burn, 30); await asyncio.sleep(0.2)",
        "await asyncio.to_thread(burn, 30)",
        "thread = threading.Thread(target=burn, args=(30,)); thread.start(); await asyncio.to_thread(thread.join)",
    ],
)
def test_each_call_has_its_own_cpu_time(burns: str) -> None:
    scope: dict[str, Any] = {}
    source = f"""
import asyncio, threading, time
{BURN}
async def aburn():
    burn(10)

async def handler(event):
    if event["subject"] == "burns":
        {burns}
    else:
        await asyncio.sleep(0.1)
"""
    exec(source, scope)
    with serving(scope["handler"]) as loop:
        loop.send(make_head(i=1, subject="sleeps"), make_head(i=2, subject="burns"), make_head(i=3, subject="sleeps"))
        used_ms = {}
        for _ in range(3):
            header = loop.receive().header
            used_ms[header["i"]] = header["cpu_ns"] / 1e6
    assert 30 <= used_ms[2] < 45
    assert max(used_ms[1], used_ms[3]) < 10


def test_nothing_stays_replaced_after_the_loop() -> None:
    before = asyncio.Handle._run, threading.Thread.start
    with serving(_nothing) as loop:
        loop.send(make_head())
        loop.receive()
    assert (asyncio.Handle._run, threading.Thread.start) == before


async def _nothing(event: dict[str, Any]) -> None: ...
