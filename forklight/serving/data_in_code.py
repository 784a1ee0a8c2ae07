"""Data that lies in the code and changes while `dev` serves: what is said about it.

A database never causes a reload: whoever opens it by its absolute path writes to it all the time. Any other file does,
because functions may read it; if it is written by a function, each write is a reload, and only the author can tell.
"""

import logging
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from forklight.code.selection import IGNORE_FILE

log = logging.getLogger(__name__)

_MOST_NAMED = 3
_KEEP = "keep it in the data folder (data = true)"


class DataInCode:
    """Remembers what has been said."""

    def __init__(self) -> None:
        self._databases: set[Path] = set()
        self._files: Counter[Path] = Counter()

    def databases_changed(self, paths: Collection[Path]) -> None:
        """Say once for each database why nothing happens."""
        for path in sorted(set(paths) - self._databases):
            self._databases.add(path)
            log.warning(
                "%s has changed, which is no reason to reload: a function that reads it in its own folder sees a copy; "
                "%s, or list it in %s",
                path,
                _KEEP,
                IGNORE_FILE,
            )

    def files_changed(self, paths: Collection[Path]) -> None:
        """Say which file is the reason for the next reload, and when it is one for the second time, what helps.

        Many at once are written by a program of the author's, such as git.
        """
        for path in sorted(paths) if len(paths) <= _MOST_NAMED else ():
            self._files[path] += 1
            if self._files[path] == 2:
                advice = "has changed again: if a function writes it"
                log.warning("%s %s, %s or list it in %s", path, advice, _KEEP, IGNORE_FILE)
            else:
                log.warning("%s has changed", path)
