"""Removes folders that a function could write to, whatever it left in them. Blocks."""

import contextlib
import os
from pathlib import Path
from uuid import uuid4


def remove_tree(folder: Path) -> None:
    """Remove the folder of a dead process as far as possible; never raises OSError.

    Each subfolder is moved to the top level before it is emptied, so that deep nesting costs neither recursion nor long
    paths.
    """
    with contextlib.suppress(OSError):
        top = _open_folder(folder)
        try:
            folders = _unlink_files(top)
            while folders:
                with contextlib.suppress(OSError):
                    folders += _remove_level(folders.pop(), top)
        finally:
            os.close(top)
        folder.rmdir()


def _remove_level(name: str, top: int) -> list[str]:
    """Remove a folder in `top`; returns the names that its subfolders now have in `top`."""
    moved: list[str] = []
    level = _open_folder(name, top)
    try:
        for inner in _unlink_files(level):
            os.close(_open_folder(inner, level))  # restores its permissions: a folder must be writable to be moved
            moved.append(uuid4().hex)
            os.rename(inner, moved[-1], src_dir_fd=level, dst_dir_fd=top)
    finally:
        os.close(level)
    os.rmdir(name, dir_fd=top)
    return moved


def _unlink_files(level: int) -> list[str]:
    """Unlink everything but folders; returns the names of the folders."""
    with os.scandir(level) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=level)
    return [name for name, is_folder in found if is_folder]


def _open_folder(path: Path | str, above: int | None = None) -> int:
    """Open a folder and restore its owner's permissions. Never follows a symlink."""
    handle = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    try:
        itself = f"/proc/self/fd/{handle}"
        os.chmod(itself, 0o700)
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.close(handle)
