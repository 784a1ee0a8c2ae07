"""Opens a box and keeps it open: a bubblewrap process, and in it the first process of the box, a `cat`.

Theory of operation. The only other end of the cat's standard input is in the server. When the server closes it or dies,
the cat reads end of file and exits, and the kernel kills everything in the box, whatever it did: the cat is the first
process of its pid namespace. So nothing in a box outlives the server.

A template may enter only once the box is complete. Before, its root is half built, or still that of the host. So the
server writes a line and waits until the cat has echoed it, which it can only after bubblewrap has finished. Then it
looks up the cat in /proc and takes a pidfd: a pipe for `--info-fd` would leave a process for ever if the server died at
the wrong moment.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence

import anyio

from sandbox import processes
from sandbox.box import Box
from sandbox.errors import LoadFailed, SandboxError, StartFailed
from sandbox.launch import Account, become_user, high
from sandbox.namespaces import NOT_INSTALLED, bubblewrap, read_kernel, why_failed

OPEN_LIMIT_S = 10.0
"""How long a box may take to open: some 7 ms, and more on a machine with thousands of mounts."""
CLOSE_LIMIT_S = 5.0
"""How long what is in a box may take to die once it was killed."""
_NAMESPACES = {
    "user": 0x10000000,
    "mnt": 0x00020000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "cgroup": 0x02000000,
}
"""The files of /proc/PID/ns, and the flags of setns(2)."""
_IN_MEMORY = ("/tmp", "/dev/shm")  # noqa: S108  of a box
_NO_ROOM = re.compile("No space left|Resource temporarily unavailable|Cannot allocate memory|Too many open files")
_UNREADABLE = re.compile("Can't (?:find|bind|get).*: Permission denied")


class Holder:
    """One open box."""

    def __init__(self, pid: int, stdin: int) -> None:
        self._pid = pid
        self._stdin = stdin
        self._pidfd = os.pidfd_open(pid)
        """of bubblewrap, which is our child; it waits for the cat"""
        self._inner = -1
        self.pid = 0
        """of the first process in the box, as the server sees it"""
        self.namespaces = 0
        self.held_kb = 0
        """The memory of both processes that belongs to no file; it stays as it is."""
        self.on_lost: Callable[[str], None] = _nobody
        """Gets the reason if the box ends before it was closed."""
        self._parts = 1
        """How many of the two processes live."""
        self._ended = anyio.Event()
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    def box(self) -> Box:
        """What a template needs to enter. Raises StartFailed if the box has ended meanwhile."""
        if self._inner < 0:
            raise StartFailed("the box ended as soon as it was open")
        return Box(self._inner, self.namespaces)

    def watch(self) -> None:
        """The box is complete: find its first process. Raises StartFailed."""
        try:
            found = processes.read_proc(f"/proc/{self._pid}/task/{self._pid}/children").split()
            self.pid = int(found[0])
            self._inner = os.pidfd_open(self.pid)
            self._parts += 1
            asyncio.get_running_loop().add_reader(self._inner, self._lost)
            self.namespaces = _namespaces(self.pid)
            self.held_kb = sum(processes.anonymous_kb(pid) or 0 for pid in (self._pid, self.pid))
            is_first = processes.is_first(self.pid, parent_pid=self._pid) and not processes.has_died(self._inner)
        except (OSError, IndexError) as error:
            raise StartFailed(f"the box ended as soon as it was open: {error}") from None
        if not is_first or not self.namespaces & _NAMESPACES["user"]:
            raise StartFailed("bubblewrap has made no namespaces")

    def files_kb(self) -> int:
        """The memory that the files of the box take."""
        found = 0
        for folder in _IN_MEMORY if self._inner >= 0 else ():
            with contextlib.suppress(OSError):  # it is just ending
                status = os.statvfs(f"/proc/{self.pid}/root{folder}")
                found += (status.f_blocks - status.f_bfree) * status.f_frsize // 1024
        return found

    async def close(self) -> None:
        """Kill everything in the box; returns once it is gone. Whoever asks again waits, too."""
        self._hang_up()
        with anyio.move_on_after(CLOSE_LIMIT_S):
            await self._ended.wait()
            return
        for pidfd in (self._inner, self._pidfd):
            if pidfd >= 0:
                processes.kill(pidfd)
        with anyio.move_on_after(CLOSE_LIMIT_S):  # else the kernel cannot end a process in it
            await self._ended.wait()

    def _hang_up(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def _lost(self) -> None:
        self._inner = self._end(self._inner)
        if self._stdin >= 0:
            self._hang_up()
            self.on_lost("the first process of its box was killed")

    def _reap(self) -> None:
        if self._inner < 0:  # what it has started may wait for it for ever; our zombie keeps the number of the group
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._pidfd = self._end(self._pidfd)

    def _end(self, pidfd: int) -> int:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self._parts -= 1
        if not self._parts:
            self._ended.set()
        return -1


async def open_box(options: Sequence[str], account: Account, uid: int | None, files: Iterable[bytes] = ()) -> Holder:
    """Start bubblewrap as the user of the function, whose own one is `uid`, and wait until the box is complete.

    `files`: what it reads from its descriptors from 3 up.

    Raises LoadFailed if there can be no such box, StartFailed if there is no room for it now.
    """
    program = bubblewrap()
    if program is None:
        raise LoadFailed("InitFailed", f"no box could be opened: {NOT_INSTALLED}")
    holder, echo, errors = _start([*become_user(account, uid), program, *options], files)
    try:
        with contextlib.closing(echo), contextlib.closing(errors):
            if not await _answers(echo):
                raise _failure(errors.read())
        holder.watch()
    except BaseException:
        with anyio.CancelScope(shield=True):
            await holder.close()
        raise
    return holder


class _End:
    """Our end of a pipe, to read from."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)

    def read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(self.fd, 4096)
        return b""

    def close(self) -> None:
        os.close(self.fd)


def _start(argv: list[str], files: Iterable[bytes]) -> tuple[Holder, _End, _End]:
    """The process with the write end of its standard input, and the read ends of its output and errors."""
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        try:
            # Not a pipe: through /proc, what is in the box could open its other end, and keep the box open for ever.
            stdin_end, stdin = (end.detach() for end in socket.socketpair())
            theirs.callback(os.close, stdin_end)
            ours.callback(os.close, stdin)
            echo, echo_end = os.pipe2(os.O_CLOEXEC)
            theirs.callback(os.close, echo_end)
            ours.callback(os.close, echo)
            errors, errors_end = os.pipe2(os.O_CLOEXEC)
            theirs.callback(os.close, errors_end)
            ours.callback(os.close, errors)
            os.write(stdin, b"\n")
            given = [stdin_end, echo_end, errors_end, *(theirs.enter_context(_file(content)) for content in files)]
            with high(given) as copies:
                pid = os.posix_spawn(
                    argv[0],
                    argv,
                    {},
                    file_actions=[(os.POSIX_SPAWN_DUP2, copy, number) for number, copy in enumerate(copies)],
                    setpgroup=0,
                    setsigmask=(),
                    setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD),
                )
            try:
                holder = Holder(pid, stdin)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
        except OSError as error:
            raise StartFailed(f"no box could be opened: {error.strerror}") from None
        ours.pop_all()
    return holder, _End(echo), _End(errors)


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[int]:
    """A descriptor from which this can be read."""
    fd = os.memfd_create("file", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


async def _answers(echo: _End) -> bool:
    """Whether the first process of the box has echoed what it was told."""
    try:
        with anyio.fail_after(OPEN_LIMIT_S):
            await anyio.wait_readable(echo.fd)
    except TimeoutError:
        raise StartFailed(f"no box could be opened within {OPEN_LIMIT_S:g} s") from None
    return echo.read() != b""


def _failure(said: bytes) -> SandboxError:
    """What bubblewrap has said, and what to do about it."""
    text = said.decode(errors="backslashreplace").strip().replace("\n", "; ")
    if not text:
        return StartFailed("no box could be opened: bubblewrap was killed")
    if _NO_ROOM.search(text):
        return StartFailed(f"no box could be opened: {text}")
    if _UNREADABLE.search(text):
        remedy = "let the functions' user read it, or leave it out of mounts"
        return LoadFailed("InitFailed", f"no box could be opened: {text}: {remedy}")
    return LoadFailed("InitFailed", f"no box could be opened: {why_failed(text, read_kernel())}")


def _namespaces(pid: int) -> int:
    """The namespaces that a process does not share with the server, as flags. Raises OSError."""
    flags = 0
    for name, flag in _NAMESPACES.items():
        with contextlib.suppress(FileNotFoundError):  # a kernel without this kind
            if os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
                flags |= flag
    return flags


def _nobody(_reason: str) -> None:
    """The default of `on_lost`."""
