"""The state directory, which holds everything that Forklight writes. One process owns it, by an exclusive lock.

    <state>/.gitignore  lock        the lock holds the pid of its owner
    <state>/key                     the random key of version hashes, readable by the owner only
    <state>/uids                    the number of each function's own user ([machine] uids), if they have any
    <state>/keys                    hashes of the keys of routes with auth = "key" and of deploy keys, if there are any
    <state>/log.jsonl, log.1.jsonl  the kept log (`[log] keep`), readable by the owner only; the second is the older one
    <state>/versions/<hash>/        snapshots of code, read-only, each for all functions with the same code and Python
    <state>/packages/<hash>.zip     packages, immutable; `incoming/<hash>.part` of those that are being received
    <state>/unpacked/<hash>/        what packages hold; made again at need
    <state>/guest/<hash>/           snapshots of the guest, read-only; .pyc files of another Python may come
    <state>/runtimes/<name>-<key>/  environments of runtimes, made by `forklight install`
    <state>/runtimes/sealed-<key>/  copies of Node.js that can be executed and not read
    <state>/data/                   what functions with `data = true` keep; nothing here removes any of it
    <state>/releases.json           the releases of deployed applications, if there are any
    <state>/releases.json.reserve   room for it on a full disk
    <state>/secrets/NAME/           the files of an application's secrets, put there by the operator
    <state>/applications/NAME/data/ what its functions with `data = true` keep; nothing here removes any of it
    <state>/rehearsals/NAME.json    what calls of a function have imported, readable by the owner only
    <state>/tmp/NAME/               private folders of the processes of a function; tmp is emptied at start
    <state>/here/<pid>/             temporary states of one-shot trees, each with its lock beside it

Started as root, the group is that of the unprivileged user, who can read everything but the key and can pass through
`tmp` to the folders given to it. Others have no access. Values of secrets are never stored here.
"""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from forklight.errors import ForklightError
from forklight.state.users import User, blocking, name_of
from sandbox import folders

SYSTEM_STATES = Path("/var/lib/forklight")
_APPLICATION = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class StateError(ForklightError):
    """The state directory cannot be used; the message says which, why, and what to do."""


class State(Struct, frozen=True):
    """An open state directory: its lock is held by this process."""

    path: Path

    @property
    def versions(self) -> Path:
        return self.path / "versions"

    @property
    def guest(self) -> Path:
        return self.path / "guest"

    @property
    def rehearsals(self) -> Path:
        return rehearsals_path(self.path)

    @property
    def tmp(self) -> Path:
        return self.path / "tmp"

    @property
    def key(self) -> bytes:
        """32 random bytes, made with the directory."""
        return (self.path / "key").read_bytes()


def keys_path(state: Path) -> Path:
    """Return the path of the file with the keys of routes and of deployers. It may not exist."""
    return state / "keys"


def rehearsals_path(state: Path) -> Path:
    """Return the folder of what calls have imported. It may not exist."""
    return state / "rehearsals"


def application_problem(name: str) -> str:
    """Return why an application cannot have this name, which becomes part of paths; or nothing."""
    if _APPLICATION.fullmatch(name):
        return ""
    return (
        f"{name[:80]!r} is not the name of an application: a small letter, then up to 62 small letters, digits, _ and -"
    )


def application_data_path(state: Path, application: str) -> Path:
    """Return the data folder of a deployed application. It may not exist."""
    return state / "applications" / application / "data"


def application_secrets_path(state: Path, application: str) -> Path:
    """Return the folder where the operator puts the files of a deployed application's secrets. It may not exist."""
    return state / "secrets" / application


def close_secrets(state: Path) -> None:
    """Let nobody but the server's user into the folder of all applications' secrets, whatever the umask was of whoever
    put files there; make it if need be. Raises OSError. Blocks."""
    folder = state / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)


def log_paths(state: Path) -> tuple[Path, Path]:
    """Return the paths of the older and of the newer file of the kept log. They may not exist."""
    return state / "log.1.jsonl", state / "log.jsonl"


def state_path(flag: Path | None, environ: Mapping[str, str], source: Path) -> Path:
    """Return the state directory of the configuration `source`: an absolute path that need not exist.

    `flag` (--state), else FORKLIGHT_STATE, else the first of systemd's STATE_DIRECTORY (systemd.exec(5)), else as root
    /var/lib/forklight/<hash of the path>, else .forklight beside the file. A `..` is resolved, so that the path
    stays valid when the folder that it leads through, such as a release, is renamed.
    """
    chosen = flag or environ.get("FORKLIGHT_STATE") or environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if chosen:
        path = Path(chosen).absolute()
        return path.resolve() if ".." in path.parts else path
    if os.geteuid() == 0:
        return SYSTEM_STATES / sha256(os.fsencode(source.resolve())).hexdigest()[:12]
    return source.resolve().parent / ".forklight"


@contextmanager
def open_state(path: Path, user: User | None) -> Iterator[State]:
    """Create the state directory `path` if needed, and own it until the end of the block. Raises StateError.

    Functions run as `user`; None is the user of this process. Blocks.
    """
    with ExitStack() as stack:
        with _errors_of(path):
            _make_base(path, user)
            stack.enter_context(_locked(path / "lock"))
            state = _prepare(path, user)
        yield state


@contextmanager
def open_here(path: Path, user: User | None) -> Iterator[State]:
    """Make a temporary state inside the state directory `path` without taking its lock, and remove it at the end.

    First removes those of killed processes, whose locks are free. Raises StateError. Blocks.
    """
    folder = path / "here"
    mine = folder / str(os.getpid())
    with ExitStack() as stack:
        with _errors_of(path):
            _make_base(path, user)
            _make(folder, 0o750, user)
            _remove_stale(folder)
            lock = stack.enter_context(_locked(folder / f"{mine.name}.lock"))
            stack.callback(lock.unlink)
            stack.callback(remove_tree, mine)
            _make(mine, 0o750, user)
            _adopt_key(path, mine)
            state = _prepare(mine, user)
        yield state


def _adopt_key(path: Path, mine: Path) -> None:
    """Give a temporary state the key of the lasting one, so that versions have the same names, if we may read it."""
    with suppress(OSError):
        key = (path / "key").read_bytes()
        with open(os.open(mine / "key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)


def open_runtimes(path: Path, user: User | None) -> Path:
    """Make the folder of runtimes in the state directory `path` without taking its lock. Raises StateError."""
    with _errors_of(path):
        _make_base(path, user)
        _make(path / "runtimes", 0o750, user)
    return path / "runtimes"


def is_state(path: Path) -> bool:
    """Return whether a server has used `path` as its state directory. False if it cannot be read."""
    return all(os.path.lexists(path / name) for name in ("key", "guest", "versions"))


def make_state(path: Path) -> None:
    """Make `path` an empty state directory if it does not exist. Raises OSError. Blocks."""
    if not path.exists():
        _make_base(path, None)


@contextmanager
def without_server(path: Path) -> Iterator[bool]:
    """Yield whether no server runs on the state directory `path`. If so, none can start inside the block."""
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(path / "lock"))
            is_free = True
        except StateError:
            is_free = False
        yield is_free


def has_one_shots(path: Path) -> bool:
    """Return whether a one-shot tree runs in the state directory `path`."""
    folder = path / "here"
    _remove_stale(folder)
    return any(folder.glob("*.lock"))


def remove_tree(directory: Path) -> None:
    """Remove a directory, including read-only folders in it, if it exists."""
    folders.remove_tree(directory)
    if directory.exists():
        raise OSError(errno.ENOTEMPTY, "it cannot be removed", str(directory))


def sync_folder(path: Path) -> None:
    """Return when the disk has the names in this folder: a rename before that may be undone by a crash. Blocks."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_base(path: Path, user: User | None) -> None:
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(exist_ok=True)
            parent.chmod(0o755)  # whatever the umask: the unprivileged user must pass
    _make(path, 0o750, user)
    (path / ".gitignore").write_text("*\n")
    if user and (place := blocking(path, user)) is not None:
        raise StateError(
            f"the state directory {path} is out of reach for {user.who}: {place} blocks the way; "
            f"open it (chmod a+x {place}), or name another with --state"
        )


def _prepare(path: Path, user: User | None) -> State:
    state = State(path)
    remove_tree(state.tmp)
    _make(state.versions, 0o750, user)
    _make(state.guest, 0o750, user)
    _make(state.tmp, 0o710, user)
    key = path / "key"
    if not key.exists():
        new = path / "key.new"
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        new.rename(key)
    return state


def _make(path: Path, mode: int, user: User | None) -> None:
    """Make one directory with this mode, or 0700 if there is no unprivileged user."""
    path.mkdir(exist_ok=True)
    if user:
        os.chown(path, 0, user.gid)
    path.chmod(mode if user else 0o700)


def _remove_stale(folder: Path) -> None:
    for lock in folder.glob("*.lock"):
        try:
            with _locked(lock):
                remove_tree(lock.with_suffix(""))
                lock.unlink()
        except StateError:
            continue


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Hold the exclusive lock at `path`, a file with the holder's pid. The kernel releases it when the process ends."""
    descriptor = _lock(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield path
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            raise StateError(
                f"the state directory {path.parent} is in use by the process with pid {holder}; "
                "stop that one, or name another directory with --state"
            ) from None
        if is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Return whether the locked file is still the one at `path`. Its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or path
        why = "it is not a directory" if isinstance(error, FileExistsError) else error.strerror
        remedy = f"{_handed_over(path, error)}name another with --state"
        raise StateError(f"the state directory {path} cannot be used: {place}: {why}; {remedy}") from error


def _handed_over(path: Path, error: OSError) -> str:
    """Return how to take over a state directory that another user has made, as root does in a start with sudo."""
    with suppress(OSError):
        if isinstance(error, PermissionError) and (owner := path.stat().st_uid) != os.geteuid():
            return f"it belongs to the user {name_of(owner)!r}: as root, chown -R {name_of(os.geteuid())}: {path}, or "
    return ""
