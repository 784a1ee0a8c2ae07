"""Creating the environments of runtimes, and removing unused ones. All of it blocks.

One install at a time works in a state directory; a second one waits, and then finds its environment done. The installer
inherits the lock, so that nobody else builds while it still writes, even if we are killed. An environment is never
moved, because its scripts contain its path; one without its mark is removed and built again. Whoever uses one holds a
shared lock on its mark, and what is locked is not removed: tests of an application borrow its environments.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from forklight.code.interpreter import InterpreterError, ask_interpreter
from forklight.config.requirements import has_hashes, read_requirements
from forklight.config.runtimes import Environment
from forklight.errors import ForklightError
from forklight.state.directory import has_one_shots, remove_tree
from forklight.state.users import User
from sandbox.guest._forklight.wire import RUNTIME_MARK

Command = list[str]

_LOCK = "lock"
MISLEADING = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV")
"""Variables that would make the installer install somewhere else."""


class InstallError(ForklightError):
    """An environment could not be created; the message names the runtime and the failed step."""


@contextmanager
def installing(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Hold the lock of the folder of runtimes. If another install holds it, say so and wait."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another install is running here: waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def make(environment: Environment, user: User | None, lock: int) -> None:
    """Create it; the installer reports to standard error. Requires the lock of `installing`. Raises InstallError."""
    texts = read_requirements(environment.requirements)
    remove_tree(environment.path)
    try:
        for command in commands(environment, shutil.which("uv"), hashed=has_hashes(texts)):
            _run(command, environment, lock)
        ask_interpreter(environment.python, user)
    except InterpreterError as error:
        raise InstallError(f"the runtime {environment.runtime!r} cannot be used: {error}") from None
    publish(environment)


def publish(environment: Environment) -> None:
    """Mark it as complete: from now on it may be used."""
    new = environment.path / "mark.new"
    new.write_text(f"{environment.requirements}\n{environment.command}\n{environment.configuration}\n")
    new.chmod(0o644)
    os.sync()  # after a power cut, the mark must not be there without the rest
    new.rename(environment.mark)
    news(environment.path.parent.parent).write_text(f"{environment.path.name}\n")


def news(state: Path) -> Path:
    """Return the file that is written after each install: `dev` watches it."""
    return state / "runtimes" / "installed"


class Holder:
    """Keeps the environments that this process uses from being removed, until it ends."""

    def __init__(self) -> None:
        self._held: dict[Path, int] = {}

    def hold(self, environments: Iterable[Environment]) -> None:
        """Lock these, too. One that is being removed at this moment is reported by whoever needs it."""
        for environment in environments:
            if environment.mark not in self._held and (lock := _locked(environment.mark, fcntl.LOCK_SH)) is not None:
                self._held[environment.mark] = lock

    def end(self) -> None:
        """Give up all of them."""
        for lock in self._held.values():
            os.close(lock)
        self._held.clear()


def _locked(mark: Path, kind: int) -> int | None:
    """Return a descriptor that holds the lock, or None if there is no mark or somebody else holds it."""
    try:
        descriptor = os.open(mark, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def commands(environment: Environment, uv: str | None, *, hashed: bool) -> list[Command]:
    """Return the commands that create the environment: with uv, given its path, or with the interpreter's venv and pip.

    They also compile what they install, because the functions' user may not write there. Pure.
    """
    base, path, file = str(environment.base.python), str(environment.path), str(environment.requirements)
    if uv is not None:
        checked = ["--require-hashes"] if hashed else []  # pip demands it if any has a hash; uv does not
        install = [
            uv,
            "pip",
            "install",
            "--python",
            str(environment.python),
            "--compile-bytecode",
            *checked,
            "-r",
            file,
        ]
        return [[uv, "venv", "--quiet", "--no-project", "--python", base, path], install]
    pip = [str(environment.python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return [
        [base, "-I", "-m", "venv", path],
        [*pip, "install", "--compile", "--root-user-action=ignore", "-r", file],
    ]


def remove_unused(state: Path, configuration: Path, keep: Set[Path]) -> None:
    """Remove the environments of this configuration that are not in `keep`, and incomplete ones.

    No server may be using the state directory. While an install or a one-shot tree is running, nothing is removed.
    Environments that somebody uses stay, and so do those of another configuration with the same state directory, and
    links to the environments of another state directory.
    """
    folder = state / "runtimes"
    if not folder.is_dir() or has_one_shots(state):
        return
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink() and path not in keep:
                _remove(path, configuration)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)


def _remove(path: Path, configuration: Path) -> None:
    mark = path / RUNTIME_MARK
    if not mark.is_file():
        remove_tree(path)
        return
    owner = [*mark.read_text().splitlines(), "", "", ""][2]
    is_others = owner not in ("", str(configuration)) and Path(owner).is_file()  # version 0.1 named no owner
    if not is_others and (lock := _locked(mark, fcntl.LOCK_EX)) is not None:
        try:
            remove_tree(path)
        finally:
            os.close(lock)


def _run(command: Command, environment: Environment, lock: int) -> None:
    """Run one command in the requirements' folder, as their paths are relative to it. All users can read the result."""
    environ = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            cwd=environment.requirements.parent,
            env=environ | {"PIP_USER": "0"},
            umask=0o022,
            pass_fds=(lock,),
            check=False,
        )
    except OSError as error:
        raise InstallError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        what = " ".join(Path(word).name if word == command[0] else word for word in command[:4])
        raise InstallError(
            f"the runtime {environment.runtime!r} could not be created: {what} ... ended with {done.returncode}, "
            "for the reason above"
        )
