"""Removes the private folders of dead instances in a box, a little at a time, so that no fork waits for it.

Each subfolder is moved to the top before it is emptied, so that deep nesting costs neither recursion nor long paths.
What cannot be removed goes with the box.
"""

import contextlib
import os
from itertools import islice

_AT_ONCE = 200


class Remains:
    """Folders that nobody needs any more."""

    def __init__(self) -> None:
        self.folders: list[str] = []
        """Those that are not empty."""

    def add(self, folder: str) -> None:
        """Remove the folder now if it is empty, as most are."""
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError:
            self.folders.append(folder)

    def remove_some(self) -> None:
        """Remove up to `_AT_ONCE` files of the latest folder, and the folder once it is empty."""
        folder = self.folders.pop()
        with contextlib.suppress(OSError):
            handle = _open(folder)
            try:
                is_empty = self._remove_files(handle, os.path.dirname(folder))
            finally:
                os.close(handle)
            if is_empty:
                os.rmdir(folder)
            else:
                self.folders.append(folder)

    def _remove_files(self, folder: int, top: str) -> bool:
        """Returns whether nothing is left."""
        with os.scandir(folder) as entries:
            found = list(islice(entries, _AT_ONCE))
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                os.close(_open(entry.name, folder))  # restores its permissions: a folder must be writable to be moved
                moved = os.path.join(top, f".{os.urandom(16).hex()}")
                os.rename(entry.name, moved, src_dir_fd=folder)
                self.folders.append(moved)
            else:
                os.unlink(entry.name, dir_fd=folder)
        return len(found) < _AT_ONCE


def _open(path: str, above: "int | None" = None) -> int:
    """Open a folder, never through a symbolic link, and restore its owner's permissions."""
    handle = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        itself = f"/proc/self/fd/{handle}"
        os.chmod(itself, 0o700)
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)
