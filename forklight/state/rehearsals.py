"""What servers have learnt about the imports of functions, kept for the next start: `<state>/rehearsals/NAME.json`.

Each file has the latest version that anything was learnt of. A file that is missing or cannot be read costs a function
its first call's imports once more, so none of it is worth an error, nor a write that waits for the disk.
"""

import contextlib
import logging
import os
from collections.abc import Container
from pathlib import Path

import msgspec
from msgspec import Struct

from sandbox.rehearsal import NOTHING_KNOWN, Plan, Plans

log = logging.getLogger(__name__)


class _Kept(Struct, frozen=True):
    version: str
    plan: Plan


class KeptPlans(Plans):
    """Plans that outlive the server. `folder` is made when there is something to keep."""

    def __init__(self, folder: Path, *, only: Container[str] | None = None, is_ours: bool = True) -> None:
        """Removes the files of all functions but `only` these. In a folder that is not ours, nothing is changed."""
        super().__init__()
        self._folder = folder
        self._is_ours = is_ours
        self._seen: set[str] = set()
        """The functions whose file was read."""
        if only is not None:
            self._forget_others(only)

    def of(self, function: str, version: str) -> Plan:
        """What is known about this version."""
        if function not in self._seen:
            self._seen.add(function)
            kept = _read(self._path(function))
            if kept is not None:
                super().keep(function, kept.version, kept.plan)
        return super().of(function, version)

    def keep(self, function: str, version: str, plan: Plan) -> None:
        """Remember what is known now about this version. What was given up, the next server may try again."""
        self._seen.add(function)
        super().keep(function, version, plan)
        if self._is_ours:
            self._keep(function, version, plan)

    def _keep(self, function: str, version: str, plan: Plan) -> None:
        try:
            if plan.given_up or plan == NOTHING_KNOWN:
                self._path(function).unlink(missing_ok=True)
            else:
                _write(self._path(function), _Kept(version, plan))
        except OSError as error:
            log.warning("what %s imports ahead could not be kept: %s", function, error)

    def _forget_others(self, functions: Container[str]) -> None:
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if path.stem not in functions:
                    path.unlink(missing_ok=True)

    def _path(self, function: str) -> Path:
        return self._folder / f"{function}.json"


def _read(path: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _write(path: Path, kept: _Kept) -> None:
    """Replace the file as a whole, readable by its owner only."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_suffix(".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(kept))
    new.replace(path)
