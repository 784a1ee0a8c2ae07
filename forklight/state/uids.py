"""Which number each function's own user has (`[machine] uids`): a file in the state directory. Blocks.

A number is given once and stays with its function, also when that is removed for a while: files of its user may exist
anywhere. So no number is taken back here; whoever removes the line of a function that is gone, takes it back.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

from forklight.errors import ForklightError
from sandbox.launch import Uids

_HEADER = """\
# The user and group of each function, by number ([machine] uids). A number is never given to another function, because
# files of its user may exist. To free the number of a function that is gone, remove its files, which
# `find / -uid NUMBER` finds, and then its line, while no server runs here.
"""
_LINE = re.compile(r"([0-9]+) (\S+)")


class UidsError(ForklightError):
    """The file cannot be used, or no number is left; the message says what to do."""


class Exhausted(UidsError):
    """The range has no number for these functions."""

    def __init__(self, path: Path, without: tuple[str, ...], least: int) -> None:
        super().__init__(f"no number is left ({path})")
        self.without = without
        self.least = least
        """How many numbers the range must have at least."""


def uids_path(state: Path) -> Path:
    """Return the path of the file. It may not exist."""
    return state / "uids"


def read_uids(path: Path) -> dict[int, str]:
    """Return the function of each number that was given so far. Raises UidsError."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UidsError(f"{path} cannot be read: {error}") from error
    given: dict[int, str] = {}
    for line, content in enumerate(text.splitlines(), 1):
        if content and not content.startswith("#"):
            match = _LINE.fullmatch(content)
            if match is None or int(match[1]) in given:
                what = "is given twice" if match else "is not a number and a function's name"
                raise UidsError(f"{path}:{line}: {content!r} {what}: mend or remove the line")
            given[int(match[1])] = match[2]
    return given


def allot(path: Path, given: Mapping[int, str], names: Iterable[str], uids: Uids) -> dict[str, int]:
    """Return the number of each function: the one it had, or the lowest that nobody has had. Raises Exhausted. Pure.

    The first number of the range is that of the zygotes. One outside of the range is left alone.
    """
    numbers = range(uids.first + 1, uids.last + 1)
    allotted = {name: number for number, name in given.items() if number in numbers}
    wanted = sorted(names)
    new = [name for name in wanted if name not in allotted]
    free = (number for number in numbers if number not in given)
    allotted |= zip(new, free, strict=False)
    if without := tuple(name for name in new if name not in allotted):
        beyond = (number for number in count(uids.last + 1) if number not in given)
        *_, last = islice(beyond, len(without))
        raise Exhausted(path, without, last - uids.first + 1)
    return {name: allotted[name] for name in wanted}


def keep_uids(path: Path, names: Iterable[str], uids: Uids) -> dict[str, int]:
    """Return the number of each function, and write down those that are new. Raises UidsError."""
    with _locked(path.parent):
        given = read_uids(path)
        allotted = allot(path, given, names, uids)
        new = {number: name for name, number in allotted.items()} | given
        if new != given:
            try:
                _write(path, new)
            except OSError as error:
                raise UidsError(f"{path} cannot be written: {error.strerror}") from error
    return allotted


def _write(path: Path, given: Mapping[int, str]) -> None:
    lines = [f"{number} {name}\n" for number, name in sorted(given.items())]
    new = path.with_name("uids.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(_HEADER + "".join(lines))
        file.flush()
        os.fsync(file.fileno())  # files of a number that was forgotten would belong to the next function that gets it
    new.rename(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time give numbers: a server on a reload, and `invoke --here` beside it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
