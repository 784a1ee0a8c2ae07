"""The files that make up a function's code: finds and copies them. Both block."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from forklight.code.ignore import decided_by
from forklight.code.private_files import is_private
from forklight.errors import ForklightError

IGNORE_FILE = ".forklightignore"
MOST_BYTES = 250 * 1000 * 1000
"""The limit of one function's code."""

_NEVER = frozenset({".git", "__pycache__", ".forklight"})
_ENVIRONMENT_MARK = "pyvenv.cfg"
_CHUNK_BYTES = 1 << 20


class CodeError(ForklightError):
    """The code cannot be read or copied. The message names the file and the reason."""


class CodeFile(Struct, frozen=True, order=True):
    """One file of the code. `name` is its path from the root of the code, `path` its real path, with links resolved."""

    name: str
    path: Path
    size_bytes: int
    is_executable: bool


def collect(code: Path, apart: Set[Path] = frozenset()) -> list[CodeFile]:
    """Return the files of `code`, sorted by name: a directory, or a single file and the modules and packages beside it.

    Leaves out `.git`, `__pycache__`, `.forklight`, virtual environments, what `.forklightignore` names, private files
    that it does not take back in, sockets, pipes and devices, the files this process logs to (`own_logs`), and the
    absolute paths `apart`, such as secrets and the state directory.
    Raises CodeError if a link leads outside or nowhere, or if there are more than 250 MB.
    """
    return _collect(code, apart)[0]


def left_out(code: Path, apart: Set[Path] = frozenset()) -> list[str]:
    """Return the names of the private files that `collect` leaves out by itself, sorted. Raises CodeError."""
    return sorted(_collect(code, apart)[1])


def _collect(code: Path, apart: Set[Path]) -> tuple[list[CodeFile], list[str]]:
    root = code if code.is_dir() else code.parent
    ignore = root / IGNORE_FILE
    try:
        walk = _walk(root, apart | own_logs())
        found = sorted(walk.files(root.resolve(), "", is_wanted=_is_module if root != code else None))
    except UnicodeDecodeError as error:
        raise CodeError(f"{ignore} is not valid UTF-8") from error
    except ValueError as error:
        raise CodeError(f"{ignore}: {error}") from error
    except OSError as error:
        raise CodeError(f"{error.filename} cannot be read: {error.strerror}") from error
    total_bytes = sum(file.size_bytes for file in found)
    if total_bytes > MOST_BYTES:
        raise CodeError(
            f"{root} holds {_mb(total_bytes)}, more than {_mb(MOST_BYTES)}: most of it in {_biggest(found)}; "
            f"list what functions do not need in {ignore}"
        )
    return found, walk.private


def own_logs() -> frozenset[Path]:
    """Return the files that standard output and error go to. If they counted as code, each line would be a change."""
    targets = []
    for descriptor in (1, 2):
        with suppress(OSError):
            targets.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
    return frozenset(path for path in targets if path.is_file())


def folders(code: Path, apart: Set[Path] = frozenset()) -> set[Path]:
    """Return the folders that `collect` enters, including empty ones, without those that cannot be read now."""
    root = (code if code.is_dir() else code.parent).resolve()
    found, ahead = {root}, [root]
    try:
        walk = _walk(root, apart)
    except (OSError, ValueError):  # of the ignore file; `collect` reports it
        return found
    while ahead:
        with suppress(OSError):
            inner = [entry for entry in ahead.pop().iterdir() if entry.is_dir() and not entry.is_symlink()]
            inner = [folder for folder in inner if walk.enters(folder, is_top_of_file=not code.is_dir())]
            found.update(inner)
            ahead += inner
    return found


def _walk(root: Path, apart: Set[Path]) -> "_Walk":
    """Raises OSError or ValueError if the ignore file cannot be used."""
    ignore = root / IGNORE_FILE
    decided = decided_by(ignore.read_text("utf-8") if ignore.is_file() else "")
    return _Walk(root.resolve(), {path.resolve() for path in apart}, decided)


def copy(files: list[CodeFile], destination: Path, root: Path, attempts: int = 5, earlier: Path | None = None) -> str:
    """Copy `files` of the code directory `root` below `destination`; return a hash of names, modes and contents.

    A file that changes meanwhile is copied again, up to `attempts` times. One that is the same in the `earlier`
    snapshot becomes a link to that: making files is what a snapshot costs. Raises CodeError.
    """
    digest = hashlib.sha256()
    for file in files:
        target = destination / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        content = None if earlier is None else _link_same(file, earlier / file.name, target, root)
        if content is None:
            content = _copy_steady(file.path, target, root, attempts)
            target.chmod(0o755 if file.is_executable else 0o644)
        digest.update(f"{file.name}\0{file.is_executable:d}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


class _Walk:
    def __init__(self, root: Path, apart: Set[Path], decided: Callable[[str, bool], bool | None]) -> None:
        """`decided`: whether the ignore file leaves a name out, None where it says nothing."""
        self.root = root
        self.apart = apart
        self.decided = decided
        self.private: list[str] = []
        """The private files that were left out by default."""

    def files(
        self, folder: Path, prefix: str, is_wanted: Callable[[Path], bool] | None = None, above: tuple[Path, ...] = ()
    ) -> Iterator[CodeFile]:
        """Yield the files below `folder` (a path without links); `above` are the folders that led here."""
        for entry in sorted(folder.iterdir()):
            name = prefix + entry.name
            is_folder = entry.is_dir()
            decision = self.decided(name, is_folder)
            if decision or (is_folder and self._stays_out(entry)):
                continue
            path = entry.resolve() if entry.is_symlink() else entry
            if path in self.apart or (is_wanted is not None and not is_wanted(entry)):
                continue
            if decision is None and self._is_private(name, path, is_folder):
                self.private.append(f"{name}/" if is_folder else name)
                continue
            self._require_inside(entry, path)
            if is_folder:
                if path in (*above, folder):
                    raise CodeError(f"{entry} is a link to a folder it lies in: the code would never end")
                yield from self.files(path, f"{name}/", above=(*above, folder))
            elif path.is_file():
                status = path.stat()
                yield CodeFile(name, path, status.st_size, bool(status.st_mode & stat.S_IXUSR))

    def enters(self, folder: Path, *, is_top_of_file: bool) -> bool:
        """Return whether the files of a folder may be code. Beside a single file, only those of packages are."""
        name = str(folder.relative_to(self.root))
        if is_top_of_file and folder.parent == self.root and not _is_module(folder):
            return False
        decision = self.decided(name, True)
        if decision is None:
            decision = self._is_private(name, folder, True)
        return not (decision or self._stays_out(folder) or folder in self.apart)

    def _is_private(self, name: str, path: Path, is_folder: bool) -> bool:
        """Judge by its own name and by that of its target if it is a link."""
        target = str(path.relative_to(self.root)) if path.is_relative_to(self.root) else path.name
        return any(is_private(one, path, is_folder=is_folder) for one in {name, target})

    def _require_inside(self, entry: Path, target: Path) -> None:
        if not target.exists():
            raise CodeError(f"{entry} is a link that leads nowhere: remove it, or list it in {IGNORE_FILE}")
        if not target.is_relative_to(self.root):
            raise CodeError(f"{entry} is a link out of the code, to {target}: copy that, or list it in {IGNORE_FILE}")

    @staticmethod
    def _stays_out(folder: Path) -> bool:
        return folder.name in _NEVER or (folder / _ENVIRONMENT_MARK).exists()


def _is_module(path: Path) -> bool:
    return (path / "__init__.py").exists() if path.is_dir() else path.suffix == ".py"


def _link_same(file: CodeFile, earlier: Path, target: Path, root: Path) -> str | None:
    """Link the read-only file `earlier` if it is the same as `file`; return the hash of its bytes, or None."""
    try:
        status = earlier.lstat()
        is_like = stat.S_ISREG(status.st_mode) and bool(status.st_mode & stat.S_IXUSR) == file.is_executable
        if not is_like or status.st_size != file.size_bytes:
            return None
        with _opened(file.path, root) as source, open(source, "rb", closefd=False) as now, open(earlier, "rb") as then:
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
        with _opened(path, root) as source, open(target, "wb") as copied:
            before = os.fstat(source)
            while chunk := os.read(source, _CHUNK_BYTES):
                content.update(chunk)
                copied.write(chunk)
            after = os.fstat(source)
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return content.hexdigest()
    raise CodeError(f"{path} changes while it is read: try again when it is written")


@contextmanager
def _opened(path: Path, root: Path) -> Iterator[int]:
    """Open a file of the code for reading, and check that it still is one.

    We may be root, and whoever can write the code may replace a folder by a link meanwhile: what is really open counts.
    """
    try:
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise CodeError(f"{path} vanished while the code was read: try again") from None
    except OSError as error:
        raise CodeError(f"{path} cannot be read: {error.strerror}") from error
    try:
        opened = Path(f"/proc/self/fd/{source}").readlink()
        if not (stat.S_ISREG(os.fstat(source).st_mode) and opened.is_relative_to(root.resolve())):
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
