"""Tries whether boxes can be made here, and finds out what stands in the way if not.

All namespaces are tried at once: bubblewrap makes the box of a function without files, as the user that functions run
as, and runs /usr/bin/true in it (5 to 16 ms). Only if that fails, each kind is tried alone. What bubblewrap says of a
failure is little, so the settings of the kernel that usually stand in the way are looked at, too.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct

from sandbox.box import KEEPER, options
from sandbox.containment import Containment, Level, Mechanism
from sandbox.launch import Account, become_user
from sandbox.levels import Missing

PATH = "/usr/bin:/usr/local/bin:/bin"
"""Where bubblewrap is looked for."""
LIMIT_S = 10.0
"""A dry run takes milliseconds; on a busy machine it may take a hundred times as long."""
_NOTHING = "/usr/bin/true"
_ALONE: Mapping[Mechanism, tuple[str, ...]] = {
    Mechanism.USER_NAMESPACE: (),
    Mechanism.PROCESS_NAMESPACE: ("--unshare-pid", "--proc", "/proc"),
    Mechanism.IPC_NAMESPACE: ("--unshare-ipc",),
    Mechanism.HOST_NAME_NAMESPACE: ("--unshare-uts",),
    Mechanism.NETWORK_NAMESPACE: ("--unshare-net",),
}
"""What tries one kind beside a user namespace and a mount namespace, which bubblewrap always makes."""
KINDS = (*_ALONE, Mechanism.MOUNT_NAMESPACE)

NOT_INSTALLED = Missing("bubblewrap is not installed", "install the package bubblewrap")
_SWITCHED_OFF = Missing(
    "ordinary users may make no user namespaces (kernel.unprivileged_userns_clone = 0)",
    "sysctl -w kernel.unprivileged_userns_clone=1, and the same line in /etc/sysctl.d",
)
_NONE_ALLOWED = Missing(
    "there may be no user namespaces (user.max_user_namespaces = 0)",
    "sysctl -w user.max_user_namespaces=15000, and the same line in /etc/sysctl.d",
)
_USED_UP = Missing(
    "no further namespaces may be made here: a sandbox around the server forbids them, or one of "
    "user.max_*_namespaces is used up",
    "start the server outside of that sandbox, or raise what `sysctl user` shows",
)
_APPARMOR = Missing(
    "AppArmor keeps programs from user namespaces (kernel.apparmor_restrict_unprivileged_userns = 1)",
    "give /usr/bin/bwrap a profile with `userns`, as docs/security.md shows",
)
_FILTERED = Missing(
    "a filter of system calls around the server forbids namespaces: a container's, or RestrictNamespaces= of a unit",
    "start the container with --security-opt seccomp=unconfined --security-opt systempaths=unconfined, or use the unit "
    "that `forklight systemd` writes",
)
_MASKED = Missing(
    "parts of /proc are hidden, as in a container, so the kernel allows no other /proc",
    "start the container with --security-opt systempaths=unconfined (Kubernetes: procMount: Unmasked)",
)
_NO_MOUNTS = Missing(
    "an AppArmor profile around the server, such as Docker's, forbids mounts",
    "start the container with --security-opt apparmor=unconfined as well",
)
_NOT_PERMITTED = re.compile("No permissions|not permitted|Permission denied|uid map")
_NO_SPACE = re.compile("ENOSPC|No space left")


class Kernel(Struct, frozen=True):
    """What may stand in the way of user namespaces. A setting is None if the kernel does not have it."""

    unprivileged: int | None = None
    """kernel.unprivileged_userns_clone, of Debian"""
    most: int | None = None
    """user.max_user_namespaces"""
    apparmor: int | None = None
    """kernel.apparmor_restrict_unprivileged_userns, of Ubuntu"""
    is_filtered: bool = False
    """Whether this process has a filter of system calls."""


def missing_namespaces(account: Account) -> dict[Mechanism, Missing]:
    """Return which kinds of namespaces a box cannot have here, and why. Blocks: it starts processes."""
    program = bubblewrap()
    if program is None:
        return dict.fromkeys(KINDS, NOT_INSTALLED)
    started = [*become_user(account, None), program]
    whole = options(Containment(level=Level.NAMESPACES, network=False), ())[: -len(KEEPER)]
    said = _said([*started, *whole, _NOTHING])
    if not said:
        return {}
    with ThreadPoolExecutor(len(_ALONE)) as threads:
        argvs = [[*started, "--unshare-user", "--ro-bind", "/", "/", *each, "--", _NOTHING] for each in _ALONE.values()]
        alone = dict(zip(_ALONE, threads.map(_said, argvs), strict=True))
    return why_missing(said, alone, read_kernel())


def why_missing(whole: str, alone: Mapping[Mechanism, str], kernel: Kernel) -> dict[Mechanism, Missing]:
    """Return what is missing, given what bubblewrap said of a whole box and of each kind alone, empty if it worked."""
    if said := alone[Mechanism.USER_NAMESPACE]:
        return dict.fromkeys(KINDS, why_failed(said, kernel))
    missing = {one: why_failed(said, kernel) for one, said in alone.items() if said}
    return missing or {Mechanism.MOUNT_NAMESPACE: why_failed(whole, kernel)}


def bubblewrap() -> str | None:
    """Return the path of bubblewrap, if it is installed."""
    return shutil.which("bwrap", path=PATH)


def read_kernel() -> Kernel:
    """Read what may stand in the way."""
    status = Path("/proc/self/status").read_text()
    return Kernel(
        unprivileged=_setting("kernel/unprivileged_userns_clone"),
        most=_setting("user/max_user_namespaces"),
        apparmor=_setting("kernel/apparmor_restrict_unprivileged_userns"),
        is_filtered=re.search(r"^Seccomp:\s*2$", status, re.MULTILINE) is not None,
    )


def why_failed(said: str, kernel: Kernel) -> Missing:
    """Return what stands in the way, given what bubblewrap said."""
    if "mount proc" in said:
        return _MASKED
    if _NO_SPACE.search(said):
        return _NONE_ALLOWED if kernel.most == 0 else _USED_UP
    if "make / slave" in said:
        return _NO_MOUNTS
    if _NOT_PERMITTED.search(said):
        if kernel.unprivileged == 0:
            return _SWITCHED_OFF
        if kernel.is_filtered and "uid map" not in said:  # AppArmor lets them be made, but not be set up
            return _FILTERED
        if kernel.apparmor == 1:
            return _APPARMOR
    return Missing(f"bubblewrap fails: {said.removeprefix('bwrap: ')}")


def _said(argv: Sequence[str]) -> str:
    """Run a command without environment; return its last line on standard error if it fails, else nothing."""
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    try:
        run = subprocess.Popen(argv, env={}, stdin=nothing, stdout=nothing, stderr=pipe, process_group=0)
    except OSError as error:
        return f"{argv[0]} does not start: {error.strerror}"
    with run:
        has_ended = _ends(run.pid)
        with contextlib.suppress(ProcessLookupError):  # a bubblewrap that was killed leaves a child that waits for it
            os.killpg(run.pid, signal.SIGKILL)
        _, errors = run.communicate()
    if not has_ended:
        return f"it did not end within {LIMIT_S:g} s"
    lines = errors.decode(errors="backslashreplace").strip().splitlines()
    return "" if not run.returncode else lines[-1] if lines else f"it ended with {run.returncode} and without a word"


def _ends(pid: int) -> bool:
    """Wait for the end of a child, which stays a zombie, so that its number is nobody else's."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(LIMIT_S * 1000))
    finally:
        os.close(pidfd)


def _setting(name: str) -> int | None:
    try:
        return int(Path("/proc/sys", name).read_text())
    except (OSError, ValueError):
        return None
