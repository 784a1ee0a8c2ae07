"""Starts a zygote: an exec with an environment made from nothing, no inherited descriptor, as the unprivileged user.

It uses posix_spawn instead of fork, because the server has threads and much memory. `setpriv` changes the user before
the interpreter starts, so that no code below the server ever runs as uid 0. /proc shows the exec environment for as
long as the process lives, so it has neither the server's variables nor any secret.
"""

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from sandbox.errors import StartFailed
from sandbox.spec import Runtime
from sandbox.user_filter import Ids, user_filter

GUEST_CONTROL_FD = 3
GUEST_LIFELINE_FD = 4
LOG_BYTES = 1024 * 1024
"""How much of the log of a zygote or template to keep."""
SPARE_DESCRIPTORS = 64
"""How many must be free before a start: each start takes a dozen, and others may be under way."""
TABLE_SIZE = 16_384
"""Descriptors for which the kernel has a place from the start: 128 KiB. An instance has four in the server."""
_PR_SET_DUMPABLE = 4
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
KILLED_EARLIER = 500
"""Added to the server's own oom_score_adj for every process below it; 500 is half of all memory (proc(5))."""
_EXEC_ENDS_S = 0.1
"""How long the exec of a new process may take: it has to close the descriptors of the server."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Numeric libraries start a thread per core at import, and a process with threads cannot be forked safely."""


class Uids(Struct, frozen=True):
    """The numbers from which each function gets a user and a group of its own, both ends included."""

    first: int
    """of the zygotes: a function that could signal one could end all others"""
    last: int


class Account(Struct, frozen=True):
    """The unprivileged user of every process below the server. `switch`: the server is root and has to change to it.

    With `uids`, it is the user of those functions only that have none of their own. Its group is everybody's, if only
    as a supplementary one: what the group may read (snapshots, libraries), all functions may.
    """

    uid: int
    gid: int
    switch: bool
    uids: Uids | None = None

    def user_of(self, uid: int | None) -> tuple[int, int]:
        """The user and the group of a function whose own user is `uid`."""
        return (self.uid, self.gid) if uid is None else (uid, uid)

    @property
    def filter(self) -> bytes:
        """The seccomp filter of a zygote: it may change to the functions' users, and no further. Empty without."""
        if self.uids is None:
            return b""
        first, last = self.uids.first, self.uids.last
        return user_filter(Ids(first, last, self.uid), Ids(first, last, self.gid), os.uname().machine)


def own_account() -> Account:
    """The server's own user. Raises ValueError if that is root, because functions would be root, too."""
    if os.getuid() == 0:
        raise ValueError("functions never run as root: name an unprivileged account")
    return Account(os.getuid(), os.getgid(), switch=False)


def forbid_inspection() -> None:
    """Let only root read the memory and environment of this process, or trace it (prctl(2), PR_SET_DUMPABLE).

    A server needs it when its functions run as the same user. It also prevents core dumps, and lasts until an exec.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def seal_descriptors() -> None:
    """Make every inherited descriptor close-on-exec, and raise the limit on open files to the hard limit.

    The kernel's table of descriptors grows now. In a process with threads it would do so by waiting for all processors
    (`expand_fdtable` calls `synchronize_rcu`): up to 30 ms in the event loop each time their number doubles.
    """
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2:
            try:
                os.set_inheritable(fd, False)
            except OSError:  # the descriptor of the listing itself
                continue
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(OSError):  # there is no standard input, or no limit
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, min(hard, TABLE_SIZE) - 1))


def require_descriptors() -> None:
    """Raise StartFailed unless `SPARE_DESCRIPTORS` are free: a start that runs out halfway costs its template."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Since Linux 6.2 the size of the folder is the number of descriptors; before, it is 0.
    used = os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
    if used + SPARE_DESCRIPTORS > limit:
        how = "raise its limit (LimitNOFILE= or ulimit -Hn)"
        raise StartFailed(f"the server has {used} of {limit} file descriptors open: {how}")


class Spawned:
    """A process right below the server, a zygote or the forwarder, with our ends of its channels."""

    def __init__(self, runtime: Runtime, guest: Path, user: Sequence[str], *role: str, shares_input: bool) -> None:
        """`user`: the beginning of its command, see `become`. Raises OSError; nothing stays open then."""
        with contextlib.ExitStack() as given, contextlib.ExitStack() as kept:
            self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            kept.callback(self.socket.close)
            given.callback(theirs.close)
            self.log, log_end = os.pipe2(os.O_CLOEXEC)
            kept.callback(os.close, self.log)
            given.callback(os.close, log_end)
            lifeline_end, self.lifeline = os.pipe2(os.O_CLOEXEC)
            kept.callback(os.close, self.lifeline)
            given.callback(os.close, lifeline_end)
            os.set_blocking(self.log, False)
            argv = [*user, str(runtime.python), "-I", str(guest), str(GUEST_CONTROL_FD), str(GUEST_LIFELINE_FD), *role]
            self.pid = _spawn(argv, runtime, theirs, log=log_end, lifeline=lifeline_end, shares_input=shares_input)
            try:
                self.pidfd = os.pidfd_open(self.pid)
            except OSError:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise
            kept.pop_all()  # success: our ends stay open


def _spawn(
    argv: list[str], runtime: Runtime, control: socket.socket, *, log: int, lifeline: int, shares_input: bool
) -> int:
    """Start it with `control` and `lifeline` as descriptors 3 and 4; returns the pid. Raises OSError.

    Standard output and error are `log`; standard input is empty, or the server's with `shares_input`.
    The lifeline is armed here, because an interpreter that has not run its first line cannot do so itself.
    """
    with high((control.fileno(), log, lifeline)) as (high_control, high_log, high_lifeline):
        pid = os.posix_spawn(
            argv[0],
            argv,
            {"PATH": search_path(runtime), "LANG": "C.UTF-8", **ONE_THREAD, **runtime.env},
            file_actions=[
                *([] if shares_input else [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]),
                (os.POSIX_SPAWN_DUP2, high_log, 1),
                (os.POSIX_SPAWN_DUP2, high_log, 2),
                (os.POSIX_SPAWN_DUP2, high_control, GUEST_CONTROL_FD),
                (os.POSIX_SPAWN_DUP2, high_lifeline, GUEST_LIFELINE_FD),
            ],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD),
        )
    _arm(lifeline, pid)
    _offer_to_the_kernel(pid)
    return pid


def search_path(runtime: Runtime) -> str:
    """The PATH of a runtime's processes. Its own programs come first, as in a shell that has activated it."""
    program = runtime.program if runtime.command else runtime.python
    own = [] if program is None else [str(program.parent)]
    return ":".join(dict.fromkeys([*own, *_SYSTEM_PATH]))


@contextlib.contextmanager
def high(fds: Sequence[int]) -> Iterator[list[int]]:
    """Copies of `fds` with numbers that cannot collide with those that they get in the child."""
    with contextlib.ExitStack() as copies:
        high = []
        for fd in fds:
            high.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100))
            copies.callback(os.close, high[-1])
        yield high


def _arm(lifeline: int, group: int) -> None:
    """Have the kernel SIGKILL the process group when the write end of the pipe closes (fcntl(2), F_SETSIG, O_ASYNC)."""
    with contextlib.suppress(ProcessLookupError):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -group)
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


def _offer_to_the_kernel(pid: int) -> None:
    """When memory runs out, have the kernel kill the process, and what it forks, before the server.

    The server writes the value, because a writer with CAP_SYS_RESOURCE also sets the floor, below which no function can
    lower it. Without that capability, a function can lower it through a program that it starts. The write must come
    before the guest forbids inspection, after which only root may write it.
    """
    with contextlib.suppress(OSError):  # the sandbox works without it
        own = int(Path("/proc/self/oom_score_adj").read_text())
        until_s = time.monotonic() + _EXEC_ENDS_S
        while True:
            try:
                Path(f"/proc/{pid}/oom_score_adj").write_text(str(min(1000, max(0, own) + KILLED_EARLIER)))
                return
            except PermissionError:
                # Until its exec has finished (closing descriptors takes a while), it is as protected as the server.
                if time.monotonic() > until_s:
                    raise
            time.sleep(0.001)  # blocks the event loop for about as long as starting the process did, once per zygote


def become(account: Account) -> list[str]:
    """The beginning of a command that runs as the user of zygotes; nothing if that is the server's own."""
    if account.uids is None:
        return become_user(account, None)
    return _setpriv(account, account.uids.first, account.gid, "-all,+setuid,+setgid")


def become_helper(account: Account) -> list[str]:
    """The same, without any capability: for a process that runs no code of others."""
    if account.uids is None:
        return become_user(account, None)
    return _setpriv(account, account.uids.first, account.gid, "-all")


def become_user(account: Account, uid: int | None) -> list[str]:
    """The same for the user of a function, whose own one is `uid`. It can become nobody else."""
    return _setpriv(account, *account.user_of(uid), "-all")


def _setpriv(account: Account, uid: int, gid: int, kept: str) -> list[str]:
    if not account.switch:
        return []
    groups = "--clear-groups" if account.uids is None else f"--groups={account.gid}"
    ids = [f"--reuid={uid}", f"--regid={gid}", groups]
    capabilities = [f"--inh-caps={kept}", f"--ambient-caps={kept}", f"--bounding-set={kept}"]
    return ["/usr/bin/setpriv", *ids, *capabilities, "--no-new-privs", "--"]
