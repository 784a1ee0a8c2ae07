"""Files of tools beside the code: caches, environments, version control, temporary files of editors.

They stay out of snapshots, so a test run or an unsaved buffer neither reloads `dev` nor makes a new version. Three
rules need no list: an environment has `pyvenv.cfg` or `conda-meta` in it, a cache has a `CACHEDIR.TAG`, and what a
`.forklightignore` takes back in is code, except for `NEVER`, environments and state directories. docs/configuration.md
describes them.
"""

import fnmatch
import os
import re
from collections.abc import Callable
from pathlib import Path

from forklight.state.directory import is_state

NEVER = (".git", ".hg", ".svn", ".bzr", ".jj", "__pycache__", ".forklight", ".#*")
"""What not even `!*` takes back in. `.#a.py` is a lock of Emacs: a link that leads nowhere."""

PATTERNS = (
    # caches, environments and reports of Python tools
    *(".benchmarks", ".cache", ".coverage", ".coverage.*", "coverage.lcov", "coverage.xml", "htmlcov", ".direnv"),
    *(".dmypy.json", ".eggs", ".hypothesis", ".ipynb_checkpoints", ".mypy_cache", ".nox", ".pyre", ".pytest_cache"),
    *(".pytype", ".ruff_cache", ".testmondata*", ".tox"),
    # and of others
    *(".devenv", ".eslintcache", "node_modules", ".parcel-cache", ".sass-cache", ".terraform", ".turbo", ".vagrant"),
    # editors: projects and local histories
    *(".fleet", ".history", ".idea", ".ropeproject", ".spyproject", "*.sublime-workspace", ".vs", ".vscode", ".zed"),
    # editors: swap files, backups, locks, and what they write before a rename
    *("*.sw[opx]", ".*.sw[a-n]", "*~", "#*#", ".*.kate-swp", ".~lock.*#", ".goutputstream-*"),
    *("*___jb_tmp___", "*___jb_old___", "flycheck_*.py", "*_flymake.py"),
    # file systems, desktops and programs that copy
    *("._*", ".DS_Store", "__MACOSX", ".Trash-*", ".directory", "Thumbs.db", "desktop.ini", "lost+found"),
    *(".fuse_hidden*", ".nfs*", ".stfolder", ".syncthing.*"),
)
"""Names, as in a shell."""

_VIMS_TRIAL = "4913"
"""The file with which vim tries whether it may write into a folder."""
_ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")
_CACHE_MARK = "CACHEDIR.TAG"
_CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""The first bytes of the mark, https://bford.info/cachedir/."""


def _any_of(patterns: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    return re.compile("|".join(map(fnmatch.translate, patterns))).match


_is_never = _any_of(NEVER)
_is_a_tools = _any_of(PATTERNS)


def is_never_code(path: Path, *, is_folder: bool) -> bool:
    """Whether a file or folder can never be code. False for a folder that cannot be read."""
    if _is_never(path.name):
        return True
    return is_folder and (any(os.path.exists(path / mark) for mark in _ENVIRONMENT_MARKS) or is_state(path))


def is_of_a_tool(path: Path, *, is_folder: bool) -> bool:
    """Whether a file or folder has a name that only tools give."""
    return _is_a_tools(path.name) is not None or (path.name == _VIMS_TRIAL and not is_folder and _is_alone(path))


def _is_alone(path: Path) -> bool:
    """Whether no other name in the folder is a number: among numbers, this is one of them."""
    try:
        return not any(name.isdigit() for name in os.listdir(path.parent) if name != path.name)
    except OSError:
        return True


def is_cache(folder: Path) -> bool:
    """Whether a tool has marked `folder` as a cache. False if that cannot be read."""
    mark = folder / _CACHE_MARK
    try:
        if not mark.is_file():  # opening a pipe would wait for its other end
            return False
        with mark.open("rb") as file:
            return file.read(len(_CACHE_SIGNATURE)) == _CACHE_SIGNATURE
    except OSError:
        return False
