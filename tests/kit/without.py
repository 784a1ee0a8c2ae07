"""Commands that run where a mechanism has really been taken away, as an ordinary user.

`python -m tests.kit.without COMMAND …` runs a command under a filter of system calls that forbids namespaces, as those
of containers do.
"""

import ctypes
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from sandbox.seccomp import filter_of

_ORDINARY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
_BOXED = ("bwrap", "--unshare-user", "--dev-bind", "/", "/")
_OWN = ("unshare", "--user", "--map-current-user", "--keep-caps")
"""A user namespace in which the command may change the settings that count for it."""
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _PR_SET_NO_NEW_PRIVS = 22, 2, 38


def _set(name: str, value: int) -> tuple[str, ...]:
    plain = ("setpriv", "--inh-caps=-all", "--ambient-caps=-all")
    return (*_OWN, "sh", "-c", f'echo {value} >/proc/sys/user/{name} && exec "$@"', "sh", *plain)


WITHOUT = {
    "bubblewrap": (*_BOXED, "--ro-bind", "/dev/null", "/usr/bin/bwrap"),
    "nested namespaces": (*_BOXED, "--disable-userns"),
    "user namespaces": _set("max_user_namespaces", 0),
    "network namespaces": _set("max_net_namespaces", 0),
    "calls for namespaces": (sys.executable, "-m", "tests.kit.without"),
    "all of /proc": (*_BOXED, "--ro-bind", "/dev/null", "/proc/timer_list"),
}
"""What is taken away, and the beginning of a command that runs without it."""


def without(what: str, argv: Sequence[str]) -> list[str]:
    """The command, to be run from this checkout, where `what` has been taken away."""
    return [*(_ORDINARY if os.getuid() == 0 else ()), *WITHOUT[what], *argv]


class _Program(ctypes.Structure):
    """`struct sock_fprog` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _main(argv: list[str]) -> NoReturn:
    code = filter_of(os.uname().machine, in_box=False)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    program = _Program(len(code) // 8, code)
    assert libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    _main(sys.argv[1:])
