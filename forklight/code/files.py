"""The files that make up a function's code: finds and copies them. Both block."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from forklight.code.selection import IGNORE_FILE, CodeError, Entry, Verdict, select, unreadable

MOST_BYTES = 250 * 1000 * 1000
"""The limit of one function's code."""

_CHUNK_BYTES = 1 << 20


Contents = Mapping[str, str]
"""Files of the code by name, each with a hash of its mode and content."""


class Vanished(CodeError):
    """A file was removed between the listing and the copy, as temporary files of a save are: list again."""


class CodeFile(Struct, frozen=True, order=True):
    """One file of the code. `name` is its path from the root of the code, `path` its real path, with links resolved."""

    name: str
    path: Path
    size_bytes: int
    is_executable: bool


class LeftOut(Struct, frozen=True):
    """What `collect` left out although the function may need it: sorted names, those of folders with a slash."""

    private: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()


def collect(code: Path, apart: Set[Path] = frozenset()) -> list[CodeFile]:
    """Return the files of `code`, sorted by name: a directory, or a single file and the modules and packages beside it.

    `selection.py` says which; also left out are sockets, pipes and devices, the files this process logs to
    (`own_logs`), and the absolute paths `apart`, such as secrets and the state directory.
    Raises CodeError if something cannot be read, a link leads outside or nowhere, or there are more than 250 MB.
    """
    return collect_all(code, apart)[0]


def collect_all(code: Path, apart: Set[Path] = frozenset()) -> tuple[list[CodeFile], LeftOut]:
    """Return the same, and what users should know is left out. Raises CodeError."""
    selection = select(code, apart | own_logs())
    found: list[CodeFile] = []
    out: dict[Verdict, list[str]] = {"private": [], "cache": []}
    for entry in selection.entries(_raise):
        if entry.verdict in out:
            out[entry.verdict].append(entry.name + "/" * entry.is_folder)
        elif entry.verdict == "in" and not entry.is_folder:
            found += _file(entry)
    found.sort()
    _refuse_too_much(selection.root, found)
    return found, LeftOut(private=tuple(sorted(out["private"])), caches=tuple(sorted(out["cache"])))


def own_logs() -> frozenset[Path]:
    """Return the files that standard output and error go to. If they counted as code, each line would be a change.

    Whoever started us may have opened them in a folder that we cannot enter, so their paths are not looked at.
    """
    targets = []
    for descriptor in (1, 2):
        with suppress(OSError):
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                targets.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
    return frozenset(targets)


def copy(
    files: list[CodeFile], destination: Path, root: Path, attempts: int = 5, earlier: Path | None = None
) -> Contents:
    """Copy `files` of the code directory `root` below `destination`, and return their contents.

    A file that changes meanwhile is copied again, up to `attempts` times. One that is the same in the `earlier`
    snapshot becomes a link to that: making files is what a snapshot costs. Raises CodeError.
    """
    contents = {}
    for file in files:
        target = destination / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        content = None if earlier is None else _link_same(file, earlier / file.name, target, root)
        if content is None:
            content = _copy_steady(file.path, target, root, attempts)
            target.chmod(0o755 if file.is_executable else 0o644)
        contents[file.name] = f"{file.is_executable:d}{content}"
    return contents


def contents_of(files: list[CodeFile], root: Path) -> Contents:
    """Return the contents that `copy` would. Raises CodeError."""
    contents = {}
    for file in files:
        with opened(file.path, root) as source, open(source, "rb", closefd=False) as stream:
            contents[file.name] = f"{file.is_executable:d}{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    return contents


def digest_of(contents: Contents) -> str:
    """Return a hash of the names, modes and contents of files."""
    lines = (f"{name}\0{content}\n" for name, content in sorted(contents.items()))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _raise(problem: CodeError) -> None:
    raise problem


def _file(entry: Entry) -> list[CodeFile]:
    """Return the file, or nothing if it is no regular file or has just been removed."""
    try:
        status = os.stat(entry.path)
        if not stat.S_ISREG(status.st_mode):
            return []
        if not os.access(entry.path, os.R_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(entry.path, error) from error
    return [CodeFile(entry.name, entry.path, status.st_size, bool(status.st_mode & stat.S_IXUSR))]


def _refuse_too_much(root: Path, found: list[CodeFile]) -> None:
    total_bytes = sum(file.size_bytes for file in found)
    if total_bytes > MOST_BYTES:
        raise CodeError(
            f"{root} holds {_mb(total_bytes)}, more than {_mb(MOST_BYTES)}: most of it in {_biggest(found)}; "
            f"list what functions do not need in {root / IGNORE_FILE}"
        )


def _link_same(file: CodeFile, earlier: Path, target: Path, root: Path) -> str | None:
    """Link the read-only file `earlier` if it is the same as `file`; return the hash of its bytes, or None."""
    try:
        status = earlier.lstat()
        is_like = stat.S_ISREG(status.st_mode) and bool(status.st_mode & stat.S_IXUSR) == file.is_executable
        if not is_like or status.st_size != file.size_bytes:
            return None
        with opened(file.path, root) as source, open(source, "rb", closefd=False) as now, open(earlier, "rb") as then:
            content = hashlib.file_digest(now, "sha256").hexdigest()
            if content != hashlib.file_digest(then, "sha256").hexdigest():
                return None
        os.link(earlier, target)
    except OSError:  # it does not exist, or the disk allows no more links
        return None
    return content


def _copy_steady(path: Path, target: Path, root: Path, attempts: int) -> str:
    """Copy one file and return the hash of its bytes, which were not written to meanwhile."""
    for _ in range(attempts):
        content = hashlib.sha256()
        with opened(path, root) as source, open(target, "wb") as copied:
            before = os.fstat(source)
            while chunk := os.read(source, _CHUNK_BYTES):
                content.update(chunk)
                copied.write(chunk)
            after = os.fstat(source)
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return content.hexdigest()
    raise CodeError(f"{path} changes while it is read: try again when it is written")


@contextmanager
def opened(path: Path, root: Path) -> Iterator[int]:
    """Open a file of the code for reading, and check that it still is one.

    We may be root, and whoever can write the code may replace a folder by a link meanwhile: what is really open counts.
    """
    try:
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Vanished(f"{path} vanished while the code was read: try again") from None
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        real = Path(f"/proc/self/fd/{source}").readlink()
        if not (stat.S_ISREG(os.fstat(source).st_mode) and real.is_relative_to(root.resolve())):
            raise CodeError(f"{path} became something else while the code was read: try again")
        yield source
    finally:
        os.close(source)


def _biggest(files: list[CodeFile]) -> str:
    sizes: dict[str, int] = {}
    for file in files:
        folder = "/".join(file.name.split("/")[:-1][:2]) or "."
        sizes[folder] = sizes.get(folder, 0) + file.size_bytes
    biggest = sorted(sizes.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{folder} ({_mb(size)})" for folder, size in biggest)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
