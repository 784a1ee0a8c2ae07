"""Code from elsewhere: pulled before the rest is read, or when a function is first loaded. Everything here blocks."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from forklight.code.selection import CodeError
from forklight.config.configuration import Config, Function
from forklight.config.problem import ConfigError
from forklight.packages.errors import PackageError
from forklight.packages.pull import pull
from forklight.packages.source import Source
from forklight.packages.store import PackageStore, StoreBounds
from sandbox.errors import LoadFailed


def store_of(config: Config) -> PackageStore:
    """Return the store of packages in the state directory of a configuration."""
    settings = config.settings.deploy
    bounds = StoreBounds(package_bytes=settings.max_package_bytes, unpacked_bytes=settings.max_unpacked_bytes)
    return PackageStore(config.state, bounds)


def is_absent(function: Function) -> bool:
    """Return whether the code of a function must be pulled before it can be read."""
    return function.source is not None and not function.code.exists()


def pulled(function: Function, config: Config) -> None:
    """Pull the code of a function that has it elsewhere, unless it is here. Raises CodeError."""
    if function.source is not None:
        try:
            pull(function.source, store_of(config))
        except PackageError as error:
            raise CodeError(str(error)) from error


def absent_ahead(config: Config) -> list[Function]:
    """Return a function for each package that must be pulled before the server starts."""
    every = (one for one in config.functions.values() if one.source is not None and one.source.pull == "ahead")
    return list({one.code: one for one in every if is_absent(one)}.values())


def pull_ahead(config: Config) -> None:
    """Pull them. Raises ConfigError."""
    problems = []
    for function in absent_ahead(config):
        try:
            pulled(function, config)
        except CodeError as error:
            problems.append(function.node.at("code").problem(str(error)))
    if problems:
        raise ConfigError(problems)


class Coming:
    """Makes a snapshot when it is first needed, of code that is pulled then. Those of the same code are equal."""

    def __init__(self, source: Source, store: PackageStore, final: Path, take: Callable[[Path, Path], None]) -> None:
        """`take` makes the snapshot `final` of the code in a zip. Both are its arguments, the zip first."""
        self._source, self._store, self._final, self._take = source, store, final, take
        self._turn = threading.Lock()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Coming) and other._final == self._final

    def __hash__(self) -> int:
        return hash(self._final)

    def __repr__(self) -> str:
        return f"Coming({self._source.shown})"

    def __call__(self) -> None:
        """Return once the snapshot is there. Raises LoadFailed."""
        with self._turn:
            try:
                if not self._final.exists():
                    self._take(pull(self._source, self._store), self._final)
            except (PackageError, CodeError, OSError) as error:
                if not self._final.exists():  # else somebody else has made it meanwhile
                    raise LoadFailed("PullFailed", f"the code cannot be had: {error}") from error


def restrict(code: Path, uid: int | None) -> None:
    """Let a snapshot be read by the group `uid` alone, or by all functions. Changes nothing that is so already."""
    found = code.stat()
    mode = found.st_mode & 0o777
    if uid is not None and (found.st_gid, mode) != (uid, 0o550):
        os.chown(code, -1, uid)
        code.chmod(0o550)
    elif uid is None and mode != 0o555:
        code.chmod(0o555)
