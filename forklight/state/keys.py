"""The keys file in the state directory, which `forklight keys` changes while a server may read it."""

import fcntl
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bus.times import rfc3339_second
from forklight.state.directory import application_problem, keys_path, make_state
from triggers.http.policy.keys import Key, digest, new_key, read_keys
from triggers.http.policy.scopes import check_scopes

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", re.ASCII)


def make_key(
    name: str, scopes: Sequence[str], *, deploy: bool = False, applications: Sequence[str] = ()
) -> tuple[str, Key]:
    """Return a new key and its entry in the file. `applications` are all that a deploy key may deploy.

    Raises ValueError for a malformed name, scope or application.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid name: up to 63 letters, digits, and . _ @ - after the first")
    check_scopes(scopes, of_key=True)
    if problem := next(filter(None, map(application_problem, applications)), None):
        raise ValueError(problem)
    key = new_key()
    created = rfc3339_second(int(time.time())) + "Z"
    return key, Key(
        sha256=digest(key),
        created=created,
        scopes=tuple(dict.fromkeys(scopes)),
        deploy=deploy,
        applications=tuple(dict.fromkeys(applications)),
    )


@contextmanager
def changing_keys(state: Path) -> Iterator[dict[str, Key]]:
    """Yield the keys to be changed. They are written as a whole at the end, by one process at a time.

    Raises KeysError if the file is malformed, and OSError. Blocks.
    """
    path = keys_path(state)
    make_state(state)
    directory = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        known = read_keys(path)
        yield known
        _write(path, msgspec.json.format(msgspec.json.encode(known)) + b"\n", owner=os.fstat(directory))
        os.fsync(directory)
    finally:
        os.close(directory)


def _write(path: Path, text: bytes, *, owner: os.stat_result) -> None:
    """Replace the file. It gets the owner of the directory, who need not be root."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        if os.geteuid() == 0:
            os.fchown(file.fileno(), owner.st_uid, -1)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
