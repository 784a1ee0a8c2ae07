"""The data folder: where functions keep files across versions and restarts. Blocks.

It is made once, for the functions' user alone. From then on it belongs to whoever runs the server: it may be a link to
another disk, other users may be let in, and no owner or mode of it is ever changed here. It is only checked.
"""

import os
import stat
import tempfile
from pathlib import Path

from forklight.errors import ForklightError
from forklight.state.users import User, blocking, may_write, name_of


class DataError(ForklightError):
    """The data folder cannot be used; the message says why, and what to do."""


def data_path(state: Path) -> Path:
    """Return the data folder of a state directory. It may not exist."""
    return state / "data"


def make_data_folder(path: Path, user: User | None) -> None:
    """Make the folder if it does not exist, and check that functions can write to it. Raises DataError.

    Functions run as `user`; None is the user of this process. Functions that share this folder have no users of their
    own: what one of them writes, the others could not read.
    """
    user = user.alone if user else None
    try:
        if not path.is_symlink() and not path.exists():
            _make(path, user)
        problem = _problem(path, user)
    except OSError as error:
        problem = f"cannot be used: {error.strerror}"
    if problem:
        raise DataError(f"the data folder {path} {problem}")


def _make(path: Path, user: User | None) -> None:
    """Publish the folder with one rename: others that start now never see it with another owner."""
    for parent in reversed(path.parents):
        if not parent.exists():  # the folder of a deployed application
            parent.mkdir(exist_ok=True)
            if user:
                os.chown(parent, 0, user.gid)
            parent.chmod(0o710 if user else 0o700)
    new = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        if user:
            os.chown(new, user.uid, user.gid)
        new.rename(path)
    except OSError:
        new.rmdir()
        if not path.is_dir():  # else another process was faster
            raise


def _problem(path: Path, user: User | None) -> str | None:
    """Return why functions cannot use the folder, and the remedy. Raises OSError."""
    if not path.exists():
        return f"is a link to {path.readlink()}, which does not exist: create that, or remove the link"
    if not path.is_dir():
        return "is not a folder: move it away"
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "is on a read-only file system: remount it, or name another state directory with --state"
    name = user.name if user else name_of(os.geteuid())
    status = path.stat()
    if may_write(path, user):
        place = blocking(path, user) if user else None
        way = f"is out of reach for the user {name!r}, who runs the functions: {place} blocks the way"
        return f"{way}; open it (chmod a+x {place})" if place else None
    owner, mode = name_of(status.st_uid), stat.S_IMODE(status.st_mode)
    is_own = status.st_uid == (user.uid if user else os.geteuid())
    remedy = f"chmod u+rwx {path}" if is_own else f"as root, chown -R {name}: {path}"
    return f"is closed to the user {name!r}, who runs the functions (owner {owner}, mode {mode:04o}): {remedy}"
