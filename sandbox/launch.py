"""Starting a zygote: exec, with a hand-made environment, no descriptor of ours, and as the unprivileged user.

posix_spawn instead of fork, because the dispatcher has threads and much memory; `setpriv` changes the user between, so
that nothing of ours in a function is ever uid 0. What is in the exec environment stays readable in /proc for ever, so
neither the dispatcher's variables nor any secret is in it.
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

GUEST_CONTROL_FD = 3
GUEST_LIFELINE_FD = 4
LOG_BYTES = 1024 * 1024
"""Kept of what a zygote or template writes outside any invocation, between two calls."""
SPARE_DESCRIPTORS = 64
"""What must be left before something is started: it takes a dozen, and each other under way one more."""
_PR_SET_DUMPABLE = 4
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
KILLED_EARLIER = 500
"""Added to the server's own oom_score_adj for all that is below it: half of the memory there is (proc(5))."""
_EXEC_ENDS_S = 0.1
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Numeric libraries start a thread per core at import; a process with threads cannot be forked safely."""


class Account(Struct, frozen=True):
    """The unprivileged user that everything below the dispatcher runs as. `switch`: only root can become it."""

    uid: int
    gid: int
    switch: bool


def own_account() -> Account:
    """Started as an ordinary user, everything runs as that user. Never root: its functions would be."""
    if os.getuid() == 0:
        raise ValueError("functions never run as root: name an unprivileged account")
    return Account(os.getuid(), os.getgid(), switch=False)


def forbid_inspection() -> None:
    """Of this process nobody but root can read the memory and environment, or trace it: PR_SET_DUMPABLE of prctl(2).

    For a server whose functions are processes of the same user. It leaves no core dump either, and lasts until an exec.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def seal_descriptors() -> None:
    """Make every descriptor the dispatcher itself inherited close-on-exec, and allow as many as the kernel lets us."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2:
            try:
                os.set_inheritable(fd, False)
            except OSError:  # the descriptor of the listing itself
                continue
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def require_descriptors() -> None:
    """Raise StartFailed unless `SPARE_DESCRIPTORS` are left: a start that runs out halfway costs its template."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The size of the folder is their number since Linux 6.2; before, it is 0.
    used = os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
    if used + SPARE_DESCRIPTORS > limit:
        raise StartFailed(f"the dispatcher has {used} of {limit} file descriptors open: raise its limit")


def spawn(
    runtime: Runtime,
    guest: Path,
    account: Account,
    control: socket.socket,
    *,
    log: int,
    lifeline: int,
    shares_input: bool = False,
) -> int:
    """Start `PYTHON -I GUEST 3 4`, with `control` and `lifeline` as those descriptors and `log` as its output; the pid.

    Its input is empty, unless it `shares_input` with us.
    The lifeline is armed from here, as an interpreter that has not read its first line yet can do nothing itself.
    Raises OSError.
    """
    argv = [*_become(account), str(runtime.python), "-I", str(guest), str(GUEST_CONTROL_FD), str(GUEST_LIFELINE_FD)]
    with _high((control.fileno(), log, lifeline)) as (high_control, high_log, high_lifeline):
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
    """PATH of all that runs in it: the runtime's own programs go first, as in a shell that has activated it."""
    return ":".join(dict.fromkeys([str(runtime.python.parent), *_SYSTEM_PATH]))


@contextlib.contextmanager
def _high(fds: Sequence[int]) -> Iterator[list[int]]:
    """Copies whose numbers are none of those that the child has them under."""
    with contextlib.ExitStack() as copies:
        high = []
        for fd in fds:
            high.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100))
            copies.callback(os.close, high[-1])
        yield high


def _arm(lifeline: int, group: int) -> None:
    """Have the kernel SIGKILL the process group once the write end of the pipe is gone: fcntl(2), F_SETSIG, O_ASYNC."""
    with contextlib.suppress(ProcessLookupError):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -group)
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


def _offer_to_the_kernel(pid: int) -> None:
    """When memory ends, have the kernel kill the process, or what it forks, before the server.

    Written from here, as what has CAP_SYS_RESOURCE sets a floor with it: below that no function gets. Without, one can
    have a program that it starts lower its own. It must come before the guest forbids inspection: only root may write
    it then, so that not even the guest's own processes can.
    """
    with contextlib.suppress(OSError):  # a sandbox without it runs as well
        own = int(Path("/proc/self/oom_score_adj").read_text())
        until_s = time.monotonic() + _EXEC_ENDS_S
        while True:
            try:
                Path(f"/proc/{pid}/oom_score_adj").write_text(str(min(1000, max(0, own) + KILLED_EARLIER)))
                return
            except PermissionError:
                # Until its exec has ended (closing descriptors takes a while), it is as uninspectable as this server.
                if time.monotonic() > until_s:
                    raise
            time.sleep(0.001)


def _become(account: Account) -> list[str]:
    if not account.switch:
        return []
    drop = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--clear-groups"]
    return ["/usr/bin/setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", *drop, "--"]
