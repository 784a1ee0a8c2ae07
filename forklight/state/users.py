"""The user that functions run as when Forklight is started as root, and what that user can reach."""

import os
import pwd
import stat
import subprocess
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from sandbox.launch import Uids


class User(Struct, frozen=True):
    """An unprivileged user: never uid 0. Processes get these two ids and no supplementary groups."""

    name: str
    uid: int
    gid: int
    uids: Uids | None = None
    """Functions have users of their own, in this range, and the group of this one as a supplementary one."""

    @property
    def alone(self) -> "User":
        """This user, without those that functions have of their own."""
        return replace(self, uids=None)

    @property
    def who(self) -> str:
        """It, in a message about what cannot be reached."""
        if self.uids is None:
            return f"the user {self.name!r}"
        return f"the users {self.uids.first}-{self.uids.last} ([machine] uids), who have the group of {self.name!r}"


def unprivileged_user(name: str | None = None, uids: Uids | None = None) -> User | None:
    """Return the user that functions run as, or None if this process is not root: then it is the same user.

    With `uids`, it is that of functions that have none of their own.

    As root with no `name`: `forklight` if there is such a user, else `nobody`. Raises ValueError if the user does not
    exist or is root.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name) if name else _default_entry()
    except KeyError:
        raise ValueError(f'"{name}" is not a user of this machine: create it with useradd --system') from None
    if entry.pw_uid == 0:
        raise ValueError(f'"{entry.pw_name}" is root (uid 0): functions never run as root, name another user')
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, uids)


def is_this_process(name: str) -> bool:
    """Return whether this process already runs as the user `name`."""
    try:
        return pwd.getpwnam(name).pw_uid == os.geteuid()
    except KeyError:
        return False


def name_of(uid: int) -> str:
    """Return the name of a user, or the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def as_user(user: User | None) -> list[str]:
    """Return the prefix that makes a command run as `user` without privileges; empty for None."""
    if user is None:
        return []
    ids = [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
    return ["setpriv", *ids, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]


def run_as(user: User | None, *command: str, within_s: float) -> "subprocess.CompletedProcess[bytes]":
    """Run a program as this user, with nothing of our environment. Raises OSError and SubprocessError. Blocks."""
    return subprocess.run(
        [*as_user(user), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
        env={"PATH": os.defpath},
        timeout=within_s,
        check=False,
    )


def blocking(path: Path, user: User | None) -> Path | None:
    """Return the first directory on the way to `path` that `user` may not pass, or the file if it may not be read.

    Returns None if nothing blocks. Follows symbolic links. Looks at the permission bits, not at access control lists.
    """
    real = path.resolve()
    for folder in (*reversed(path.absolute().parents), *reversed(real.parents)):
        if not _bits(folder.stat(), user) & stat.S_IXOTH:
            return folder
    return None if _bits(real.stat(), user) & stat.S_IROTH else real


def may_write(folder: Path, user: User | None) -> bool:
    """Return whether `user` may list and change a folder that it can reach, by the permission bits.

    For the user of this process (None) the kernel answers.
    """
    return _bits(folder.stat(), user) & 0o7 == 0o7 if user else os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _bits(status: os.stat_result, user: User | None) -> int:
    """Return the three permission bits that apply to `user`, or to this process if it is None.

    If functions have users of their own, these are no owners: what both the user and its group may do counts.
    """
    uid, groups = (user.uid, {user.gid}) if user else (os.geteuid(), {os.getegid(), *os.getgroups()})
    if uid == 0:
        return 0o7
    as_member = status.st_mode >> 3 if status.st_gid in groups else status.st_mode
    if status.st_uid != uid:
        return as_member
    as_owner = status.st_mode >> 6
    return as_owner & as_member if user and user.uids else as_owner


def _default_entry() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("forklight")
    except KeyError:
        return pwd.getpwnam("nobody")
