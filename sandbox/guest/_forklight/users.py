"""A user for each function: the zygote, which may become one of some users, lends each template one of them.

Theory of operation. The zygote of a server that is root has CAP_SETUID and CAP_SETGID, and a seccomp filter that leaves
nothing of them but the change to one of the functions' users (`user_filter.py` of the server). A fresh fork changes its
user before it does anything else, and then has no capability left. The zygote has no CAP_KILL: to kill an orphan it
takes that process's user as its effective one for a moment. Who may signal or trace it depends on its real user, which
stays as it is.
"""

import os
import signal
from typing import NamedTuple

from . import posix


class User(NamedTuple):
    """A user and its group."""

    uid: int
    gid: int


_lent: "set[int]" = set()
"""The users of all templates so far."""


def fork_as(user: User) -> int:
    """Fork a child that runs as `user`, without capabilities; returns what os.fork does. Raises OSError.

    The parent waits until the child has changed its user: whoever asks the kernel afterwards sees the right one.
    """
    told, tell = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(told)
        os.close(tell)
        raise
    if pid == 0:
        os.close(told)
        _become(user, tell)
        os.close(tell)
        return 0
    os.close(tell)
    _lent.add(user.uid)
    failed = os.read(told, 16)
    os.close(told)
    if failed:
        code = int(failed)
        raise OSError(code, f"no process can run as the user {user.uid}: {os.strerror(code)}")
    return pid


def _become(user: User, tell: int) -> None:
    """Change to this user for good, and drop every capability. If that fails, tell why and end."""
    try:
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
        posix.drop_capabilities()
        posix.forbid_inspection()  # the change has set it to fs.suid_dumpable, which may be 1
    except OSError as error:
        os.write(tell, str(error.errno).encode())
        os._exit(1)


def kill(pid: int) -> None:
    """SIGKILL a child, as its own user if need be."""
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        _kill_as_its_user(pid)


def _kill_as_its_user(pid: int) -> None:
    own = os.geteuid()
    for uid in _users_of(pid):
        try:
            os.seteuid(uid)
            os.kill(pid, signal.SIGKILL)
            return
        except PermissionError:
            continue
        finally:
            os.seteuid(own)
            posix.forbid_inspection()


def _users_of(pid: int) -> "set[int]":
    """The user of a child; all that it may have where /proc hides it (hidepid, proc(5))."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            lines = status.read().splitlines()
    except OSError:
        return _lent
    return {int(line.split()[1]) for line in lines if line.startswith(b"Uid:")}
