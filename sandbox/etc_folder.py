"""A folder like /etc that has what every function may read and nothing else, for boxes.

Theory of operation. The thirty files of `ETC` are thirty mounts, which take half of the time in which a box opens. So
files are copied once in the life of a server, and again when they have changed, to a folder that boxes show as their
/etc; only the folders of `ETC` are mounted in it. What changes while a box is open, such as the servers of resolv.conf,
is seen in it as soon as another box opens.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from threading import Lock

from sandbox.system_files import ETC

_Signature = tuple[int, int, int, int]
_ETC = Path("/etc")


class EtcFolder:
    """The folder of one server."""

    def __init__(self, above: Path) -> None:
        """It will lie in `above`, through which the functions' user can go."""
        self._above = above
        self._copied: dict[str, _Signature] = {}
        self._lock = Lock()  # boxes are opened side by side
        self._path: Path | None = None

    @property
    def current(self) -> Path | None:
        """The folder, if nothing has changed since the last `refresh`; it takes 0.2 ms to find out."""
        path = self._path
        return path if path is not None and self._copied == _signatures() and path.is_dir() else None

    def refresh(self) -> Path:
        """The folder, after copying what has changed. Raises OSError. Blocks for a few ms, if anything has changed."""
        with self._lock:
            return self._refresh()

    def _refresh(self) -> Path:
        path = self._path
        if path is None or not path.is_dir():
            path = self._path = Path(tempfile.mkdtemp(prefix=".etc-", dir=self._above))
            path.chmod(0o755)
            self._copied = {}
        found = _signatures()
        for name in self._copied.keys() - found.keys():
            _remove(path / name)
        for name, signature in found.items():
            if self._copied.get(name) != signature:
                _copy(name, path)
        self._copied = found
        return path

    def remove(self) -> None:
        """Remove it; errors are ignored."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None


def _signatures() -> dict[str, _Signature]:
    """What tells that a file has changed, of each that there is and that everybody may read."""
    found = {}
    for name in ETC:
        with contextlib.suppress(OSError):
            status = os.stat(_ETC / name)
            if stat.S_ISDIR(status.st_mode):
                found[name] = (0, 0, 0, 0)
            elif stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IROTH:
                found[name] = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def _copy(name: str, into: Path) -> None:
    """Copy a file in one step, or make a folder to mount the real one on."""
    source, target = _ETC / name, into / name
    for folder in reversed(Path(name).parents[:-1]):
        _make_folder(into / folder)
    if source.is_dir():
        _remove(target)
        return _make_folder(target)
    fresh = target.with_name(f".{target.name}")
    _remove(fresh)
    if source.is_symlink() and os.path.realpath(source).startswith("/usr/"):
        fresh.symlink_to(os.readlink(source))  # some read the name of the time zone from it
    else:
        shutil.copyfile(source, fresh)
        fresh.chmod(0o644)
    if target.is_dir():
        _remove(target)
    fresh.rename(target)
    return None


def _make_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
