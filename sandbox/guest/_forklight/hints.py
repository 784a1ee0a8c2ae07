"""What helps where a function differs from an ordinary program: it follows the message of an exception.

Imported once something has failed. Most hints are for the working directory of a function, which it cannot write to;
in the process of a test, the working directory is the author's own.
"""

import errno
import os
import resource
from collections.abc import Iterator
from itertools import islice
from typing import Any

from . import confine
from .tracebacks import cut

_MAX_LINKS = 20
_MAX_HINT_BYTES = 1024
_MAX_ENTRIES = 1000
_DATA = "FORKLIGHT_DATA"
_SCRATCH = 'scratch in os.environ["TMPDIR"]'
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_MAX_PAGE_BYTES = 65536
"""The most that SQLite writes at once."""
_USED_UP = (errno.EMFILE, errno.EAGAIN, errno.ENOSPC)
_LEAST_ROOM_BYTES = 65536
"""A file system with less room is full: a larger write has failed."""
_FORKS = frozenset(("fork", "forkpty", "fork_exec", "_fork_exec", "posix_spawn", "posix_spawnp"))
"""The functions that start a process."""
_THREADS = (
    "threads count towards max_processes, and their stacks towards what `memory` allows; raise it, or use "
    "threading.stack_size()"
)
_PROCESSES = "the processes and threads of all instances together are as many as max_processes allows"
_NOT_WRITABLE = ("unable to open database file", "attempt to write a readonly database")


def hint_of(error: BaseException) -> str:
    """`: …` for the first error in the chain that a hint is known for, or empty. Never raises an Exception."""
    try:
        return next((cut(f": {hint}", _MAX_HINT_BYTES) for one in _chain(error) if (hint := _hint(one))), "")
    except Exception:  # the attributes of an exception are user code; a hint is not worth losing the error
        return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what led to it, and what its groups hold, as its traceback shows them."""
    todo: list[Any] = [error]
    for _ in range(_MAX_LINKS):
        if not todo:
            return
        one = todo.pop()
        yield one
        cause = one.__cause__ if one.__suppress_context__ else one.__cause__ or one.__context__
        todo += [] if cause is None else [cause]
        todo += getattr(one, "exceptions", ())  # groups: Python 3.11 and later


def _hint(error: BaseException) -> str:
    if type(error) is RuntimeError and error.args == ("can't start new thread",):
        return _THREADS
    if isinstance(error, OSError) and error.errno in _USED_UP:
        return _used_up(error)
    if os.access(os.curdir, os.W_OK):
        return ""
    if isinstance(error, KeyError) and _raised_in(error) == "os":
        return _of_variable(error)
    if isinstance(error, OSError):
        return _of_network(error) or _of_file(error)
    return _of_database(str(error)) if type(error).__module__.endswith("sqlite3") else ""


def _used_up(error: OSError) -> str:
    """What the process has all of that it may have."""
    if error.errno == errno.EMFILE:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"the process has all {most} files, sockets and pipes open that open_files allows"
    if error.errno == errno.ENOSPC:
        return _full()
    return _PROCESSES if _is_fork(error) else ""


def _full() -> str:
    """Which of the places that a function may write to has no room left. The error of a write does not name it."""
    kept = [os.environ[name] for name in ("TMPDIR", _DATA) if name in os.environ]
    for folder in ("/tmp", "/dev/shm", *kept):  # noqa: S108  looked at, not written to
        found = os.statvfs(folder)
        if found.f_bavail * found.f_frsize < _LEAST_ROOM_BYTES:
            if folder in kept or not _is_boxed():
                return f"the disk of {folder} is full"
            size_mib = found.f_blocks * found.f_frsize >> 20
            return f"all files in {folder} together have at most scratch, {size_mib} MiB"
    return ""


def _is_boxed() -> bool:
    """Whether the root is one that was made for the function, in memory."""
    with open("/proc/self/mountinfo") as mounts:
        return any(line.split()[4] == "/" and " - tmpfs " in line for line in mounts)


def _is_fork(error: OSError) -> bool:
    """Whether a fork failed. Reading from a socket fails with the same error."""
    at = error.__traceback__
    while at is not None:  # a frame of ours may lie behind that of the fork
        if not _FORKS.isdisjoint(at.tb_frame.f_code.co_names):
            return True
        at = at.tb_next
    return False


def _of_variable(error: KeyError) -> str:
    if error.args == (_DATA,):
        return "write data = true in the function's table of forklight.toml"
    return "the variable is not set; a function gets only the variables of its env, env_file and secrets"


def _of_file(error: OSError) -> str:
    if error.errno == errno.EFBIG:
        return _too_big()
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    if not names:
        return ""
    if error.errno == errno.ENOENT:
        return _kept_apart() if any(map(_is_not_in_the_box, names)) else ""
    if error.errno not in _DENIED:
        return ""
    if any(_is_in(name, os.curdir) for name in names):
        return f"the code is a read-only snapshot of its folder; {_keep()}"
    if error.errno == errno.EROFS if confine.level == "namespaces" else any(map(_is_closed_by_rules, names)):
        return _kept_apart()
    if error.errno == errno.EROFS:
        return f"that is read-only for the whole server, as ProtectSystem= in its unit makes it; {_keep()}"
    return f"the function runs as the user {_user(os.geteuid())!r}"


def _kept_apart() -> str:
    reach = f"at level {confine.level}, a function reads the files of the system, its own and its mounts"
    return f'{reach}, and writes to mounts that say so: write mounts = ["PATH"] or ["PATH:rw"], {_keep()}'


def _is_not_in_the_box(path: str) -> bool:
    """Whether a path leads to a folder that was made for the box, where nothing can be missing that is not outside."""
    if confine.level != "namespaces" or not os.path.isabs(path):
        return False
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return os.stat(path).st_dev == os.stat("/").st_dev


def _is_closed_by_rules(path: str) -> bool:
    """Whether the user of the functions might use a file, so that it is a rule of level `filters` that forbids it."""
    if confine.level != "filters":
        return False
    place = path if os.path.exists(path) else os.path.dirname(os.path.abspath(path))
    if os.access(place, os.W_OK):
        return True
    try:
        os.close(os.open(place, os.O_RDONLY))
    except OSError:
        return os.access(place, os.R_OK)
    return False


def _of_network(error: OSError) -> str:
    """A hint for what is refused because of `network = false`: a socket, a connection, or the address of a name."""
    is_refused = (error.errno == errno.EACCES and error.filename is None) or error.errno == errno.ENETUNREACH
    if confine.has_network or not (is_refused or type(error).__name__ == "gaierror"):
        return ""
    return "the function has network = false"


def _of_database(message: str) -> str:
    """A hint for an error of SQLite, which does not name the file."""
    if message == "disk I/O error":
        limit_bytes, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        is_full = any(entry.stat().st_size + _MAX_PAGE_BYTES > limit_bytes for entry in _data())
        return _too_big() if is_full else ""
    if message not in _NOT_WRITABLE:
        return ""
    if _DATA in os.environ and _is_gone(os.environ[_DATA]):
        return f"the data folder {os.environ[_DATA]} is gone: a reload makes a new one"
    for entry in _data():
        if not os.access(entry.path, os.W_OK) and entry.stat().st_uid != os.geteuid():
            owner, user = _user(entry.stat().st_uid), _user(os.geteuid())
            return f"{entry.path} belongs to {owner!r}, and functions run as {user!r}: chown {user}: {entry.path}"
    where = "a relative path is in the code, a read-only snapshot of its folder"
    return f"{where}, and any other must be open to the user of the functions; {_keep()}"


def _is_gone(folder: str) -> bool:
    """Whether a folder was removed; a box still shows it, as one that no folder names."""
    try:
        return os.stat(folder).st_nlink == 0
    except OSError:
        return True


def _data() -> "list[os.DirEntry[str]]":
    """What lies in the data folder, without that of its folders."""
    if _DATA not in os.environ:
        return []
    with os.scandir(os.environ[_DATA]) as entries:
        return list(islice(entries, _MAX_ENTRIES))


def _too_big() -> str:
    limit_bytes, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return f"a file that the function writes has at most max_file, {limit_bytes / 1024**2:g} MiB"


def _keep() -> str:
    how = "" if _DATA in os.environ else " (write data = true in the function's table of forklight.toml)"
    return f'keep files in os.environ["{_DATA}"]{how}, {_SCRATCH}'


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _is_in(path: str, folder: str) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep)


def _raised_in(error: BaseException) -> str:
    """The name of the module that raised the error."""
    frame, module = error.__traceback__, ""
    while frame is not None:
        module = frame.tb_frame.f_globals.get("__name__", "")
        frame = frame.tb_next
    return module
