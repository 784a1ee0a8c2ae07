"""The guest's system calls, each in a process of its own: no child survives a sweep, no descriptor `close_all_but`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sandbox.guest

pytestmark = pytest.mark.ordinary_user

GUEST = Path(sandbox.guest.__file__).parent
LIMIT_S = 50
PRELUDE = f"""
import ctypes, itertools, os, select, signal, subprocess, sys, time
sys.path.insert(0, {str(GUEST)!r})
from _forklight import posix

def fork(child):
    pid = os.fork()
    if pid == 0:
        child()
        os._exit(0)
    return pid

alive, held = os.pipe()  # every process below holds `held`, so `alive` gets end of file after the last of them

def nobody_is_left():
    os.close(held)
    while select.select([alive], [], [], 20)[0]:
        if not os.read(alive, 1000):
            return True
    return False
"""


def run(script: str, *, pass_fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the script in a process that can import the guest. It must succeed."""
    return subprocess.run(
        [sys.executable, "-I", "-B", "-c", PRELUDE + script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        pass_fds=pass_fds,
    )


def prints(script: str) -> str:
    done = run(script)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


def test_children_are_killed_reaped_and_told() -> None:
    script = """
sleepers = [fork(lambda: time.sleep(1000)) for _ in range(3)]
ended = fork(lambda: os._exit(7))
os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)
told = {end.pid: end.code for end in posix.kill_children()}
assert told.keys() == {*sleepers, ended}
print(*(told[pid] for pid in (*sleepers, ended)))
print(posix.children(), nobody_is_left())
"""
    assert prints(script) == "-9 -9 -9 7\nset() True\n"


def test_without_children_there_is_nothing_to_do() -> None:
    assert prints("print(posix.kill_children(), posix.children())") == "[] set()\n"


def test_what_is_kept_lives_on() -> None:
    script = """
kept, other = fork(lambda: time.sleep(1000)), fork(lambda: time.sleep(1000))
assert [end.pid for end in posix.kill_children({kept, 1})] == [other]
assert posix.children() == {kept}
assert os.waitid(os.P_PID, kept, os.WEXITED | os.WNOHANG) is None
print([end.pid for end in posix.kill_children()] == [kept], nobody_is_left())
"""
    assert prints(script) == "True True\n"


def test_daemons_that_left_their_session_are_killed() -> None:
    script = """
posix.become_subreaper()
def daemonize():
    os.setsid()
    fork(daemon)
def daemon():
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(held, b"x")
    time.sleep(1000)
for _ in range(3):
    os.waitpid(fork(daemonize), 0)
for _ in range(3):
    os.read(alive, 1)
assert len(posix.children()) == 3
print(len(posix.kill_children()), posix.children(), nobody_is_left())
"""
    assert prints(script) == "3 set() True\n"


def test_the_children_of_the_killed_are_killed_too() -> None:
    script = """
posix.become_subreaper()
def family(depth):
    if depth:
        fork(lambda: family(depth - 1))
    os.write(held, b"x")
    time.sleep(1000)
fork(lambda: family(10))
for _ in range(11):
    os.read(alive, 1)
print(len(posix.kill_children()), posix.children(), nobody_is_left())
"""
    assert prints(script) == "11 set() True\n"


def test_chains_that_fork_and_exit_without_pause_are_caught() -> None:
    script = """
posix.become_subreaper()
end = time.monotonic() + 20  # if they are not killed, they end by themselves
def chain():
    for generation in itertools.count():
        if os.fork() or time.monotonic() > end:
            os._exit(0)
        if generation < 20:
            os.write(held, b"x")
for _ in range(4):
    fork(chain)
for _ in range(4 * 20):
    os.read(alive, 1)
killed = posix.kill_children(limit_s=15)
print(bool(killed), posix.children(), nobody_is_left(), time.monotonic() < end)
"""
    assert prints(script) == "True set() True True\n"


def test_only_the_listed_descriptors_stay_open() -> None:
    script = """
fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
os.dup2(fds[0], 500)
kept = {fds[3], fds[4], fds[11], 500}
posix.close_all_but([*kept, *kept, 1])
def is_open(fd):
    try:
        return bool(os.fstat(fd))
    except OSError:
        return False
print({fd for fd in range(1000) if is_open(fd)} == {0, 1, 2, *kept})
posix.close_all_but(())
print({fd for fd in range(1000) if is_open(fd)})
"""
    assert prints(script) == "True\n{0, 1, 2}\n"


LIFELINE = """
os.setsid()
posix.arm_lifeline({lifeline})
if {forks}: os.fork()
print("armed", flush=True)
while True: pass
"""


@pytest.mark.parametrize("forks", [False, True])
def test_the_end_of_the_lifeline_s_writer_kills_the_whole_group_however_busy(forks: bool) -> None:
    lifeline, writer = os.pipe2(os.O_CLOEXEC)
    script = PRELUDE + LIFELINE.format(lifeline=lifeline, forks=forks)
    command = [sys.executable, "-I", "-B", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(lifeline,)) as process:
        assert process.stdout is not None
        for _ in range(2 if forks else 1):
            assert process.stdout.readline() == b"armed\n"
        os.close(writer)
        assert process.wait(LIMIT_S) == -signal.SIGKILL
        assert process.stdout.read() == b""  # end of file: the forked process is dead, too
    os.close(lifeline)


def test_a_writer_that_is_gone_before_kills_at_once() -> None:
    lifeline, writer = os.pipe()
    os.close(writer)
    done = run(f"os.setsid(); posix.arm_lifeline({lifeline}); print('lives')", pass_fds=(lifeline,))
    os.close(lifeline)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_a_child_that_is_tied_before_it_has_a_group_of_its_own_dies_with_the_writer() -> None:
    script = """
import fcntl
lifeline, writer = os.pipe2(os.O_CLOEXEC)
fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
go, start = os.pipe()
ready, tell = os.pipe()

def child():
    os.close(writer)
    os.read(go, 1)
    os.setsid()
    os.write(tell, b".")
    signal.pause()

pid = fork(child)
posix.tie_to_lifeline(pid, lifeline)
os.write(start, b".")
os.read(ready, 1)
os.close(writer)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert prints(script) == f"{-signal.SIGKILL}\n"


def test_a_softened_lifeline_does_not_kill() -> None:
    script = """
os.setsid()
lifeline, writer = os.pipe()
posix.arm_lifeline(lifeline)
posix.soften_lifeline(lifeline)
os.close(writer)
print("lives")
"""
    assert prints(script) == "lives\n"


@pytest.mark.parametrize("settled", [True, False], ids=["stopped", "about to stop"])
def test_a_softened_lifeline_continues_what_is_stopped(settled: bool) -> None:
    """In a session of its own, where the kernel does not continue an orphan by itself."""
    lifeline, writer = os.pipe2(os.O_CLOEXEC)
    script = f"""
os.setsid()
posix.arm_lifeline({lifeline})
posix.soften_lifeline({lifeline})
print("armed", flush=True)
print(input())
"""
    with subprocess.Popen(
        [sys.executable, "-I", "-B", "-c", PRELUDE + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(lifeline,),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"armed\n"
        process.send_signal(signal.SIGSTOP)
        if settled:
            os.waitpid(process.pid, os.WUNTRACED)
        os.close(writer)
        told, _ = process.communicate(b"lives\n", LIMIT_S)
    os.close(lifeline)
    assert told == b"lives\n"


def test_memory_grows_by_what_is_allocated() -> None:
    script = """
before = posix.memory_kb(), posix.data_bytes()
held_bytes = bytearray(os.urandom(1)) * (64 * 1024 * 1024)
after = posix.memory_kb(), posix.data_bytes()
print(after[0] - before[0] >= 60 * 1024, after[1] - before[1] >= 60 * 1024 * 1024)
"""
    assert prints(script) == "True True\n"


def test_it_is_neither_dumpable_nor_can_it_gain_privileges() -> None:
    script = """
PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS = 3, 39
posix.forbid_inspection()
posix.forbid_new_privileges()
print(*(ctypes.CDLL(None).prctl(option, 0, 0, 0, 0) for option in (PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS)))
"""
    assert prints(script) == "0 1\n"
