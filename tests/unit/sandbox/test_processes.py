"""Only pidfds of real, live children of the right parent and user pass verification."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import processes
from sandbox.processes import Forged
from tests.kit.frames import child

pytestmark = pytest.mark.ordinary_user

WITH_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, '-I', '-c', 'input()'], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
child.communicate()
"""


HIDDEN = """
import ctypes
pid = os.fork()
if pid == 0:
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
os.waitpid(pid, os.WUNTRACED)
assert not os.path.exists(f"/proc/{pid}")
for uid in (os.getuid(), os.getuid() + 1):
    try:
        print(verify(os.pidfd_open(pid), parent_pid=os.getpid(), uid=uid, known=()) == pid)
    except Forged as error:
        print(error)
os.kill(pid, signal.SIGKILL)
"""
"""Runs after the module's own code: a child that cannot be inspected, with a /proc that hides such processes."""


@contextlib.contextmanager
def pidfd_of(pid: int) -> Iterator[int]:
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def verify(pidfd: int, *, uid: int | None = None, known: tuple[int, ...] = ()) -> int | None:
    """Verify a pidfd as if this process were the template that sent it."""
    return processes.verify(pidfd, parent_pid=os.getpid(), uid=os.getuid() if uid is None else uid, known=known)


def end_without_reaping(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_a_live_child_is_believed() -> None:
    with child() as process, pidfd_of(process.pid) as pidfd:
        assert verify(pidfd, known=(os.getpid(),)) == process.pid


@pytest.mark.invariant("I17")
def test_init_is_refused() -> None:
    with pidfd_of(1) as pidfd, pytest.raises(Forged, match="process 1 has parent 0"):
        verify(pidfd)


def test_we_ourselves_are_refused() -> None:
    with pidfd_of(os.getpid()) as pidfd, pytest.raises(Forged, match=f"process {os.getpid()} has parent"):
        verify(pidfd)


@pytest.mark.invariant("I17")
def test_another_s_child_is_refused() -> None:
    with child(WITH_CHILD) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        with pidfd_of(grandchild) as pidfd, pytest.raises(Forged, match=f"has parent {process.pid} and"):
            verify(pidfd)


@pytest.mark.invariant("I17")
def test_another_user_s_process_is_refused() -> None:
    with child() as process, pidfd_of(process.pid) as pidfd, pytest.raises(Forged, match="and users"):
        verify(pidfd, uid=os.getuid() + 1)


@pytest.mark.invariant("I17")
def test_a_process_that_is_known_already_is_refused() -> None:
    with child() as process, pidfd_of(process.pid) as pidfd, pytest.raises(Forged, match="already known"):
        verify(pidfd, known=(process.pid,))


@pytest.mark.invariant("I17")
def test_a_descriptor_that_is_no_pidfd_is_refused() -> None:
    read_end, write_end = os.pipe()
    with open("/proc/self/status", "rb") as file:
        for fd in (read_end, write_end, file.fileno()):
            with pytest.raises(Forged, match="not a pidfd"):
                verify(fd)
    os.close(read_end)
    os.close(write_end)


def test_a_zombie_is_dead_on_arrival() -> None:
    with child() as process, pidfd_of(process.pid) as pidfd:
        end_without_reaping(process)
        assert verify(pidfd) is None


def test_a_reaped_process_is_dead_on_arrival_even_if_it_was_known() -> None:
    with child() as process, pidfd_of(process.pid) as pidfd:
        process.kill()
        process.wait()
        assert verify(pidfd, known=(process.pid,)) is None


def test_a_zombie_has_died_and_a_live_process_has_not() -> None:
    with child() as process, pidfd_of(process.pid) as pidfd:
        assert not processes.has_died(pidfd)
        end_without_reaping(process)
        assert processes.has_died(pidfd)


def test_a_signal_reaches_the_process_and_means_nothing_to_a_dead_one() -> None:
    with child() as process, pidfd_of(process.pid) as pidfd:
        processes.kill(pidfd, signal.SIGUSR1)
        assert process.wait(50) == -signal.SIGUSR1
        processes.kill(pidfd)


def test_memory_is_known_of_the_living_only() -> None:
    with child("held = bytes(range(256)) * (50 * 4096); print(flush=True); input()") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert (processes.memory_kb(process.pid) or 0) > 50 * 1024
        process.kill()
        process.wait()
        assert processes.memory_kb(process.pid) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount /proc")
def test_a_live_process_that_proc_hides_is_not_taken_for_a_dead_one() -> None:
    """With hidepid (proc(5), systemd's ProtectProc=), an ordinary user accepts its child, and root accepts nothing."""
    mounted = 'mount -t proc -o hidepid=invisible proc /proc && exec "$@"'
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]
    program = Path(processes.__file__).read_text() + HIDDEN
    program = program.replace(
        "from sandbox.errors import SandboxError", "SandboxError = Exception"
    )  # not importable there
    python = [sys.executable, "-I", "-c", program]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", mounted, "sh", *nobody, *python],
        capture_output=True,
        text=True,
        check=True,
    )

    believed, refused = done.stdout.splitlines()
    assert believed == "True"
    assert "mounted with hidepid" in refused


def test_the_end_of_a_reaped_process_is_known_to_newer_kernels() -> None:
    for code, how in ((3, "sys.exit(3)"), (-9, "os.kill(os.getpid(), 9)")):
        started = subprocess.Popen([sys.executable, "-I", "-c", f"import os, sys; {how}"])
        with pidfd_of(started.pid) as pidfd:
            assert processes.exit_code(pidfd) is None
            started.wait()
            assert processes.exit_code(pidfd) in (code, None)
            if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15):
                assert processes.exit_code(pidfd) == code
