"""Making the environments of runtimes, and removing those that nothing uses. All of it blocks.

One install at a time works in a state directory; a second one waits for it, and finds made what it wanted. The lock is
handed down to the installer: should only we be killed, nobody builds where that still writes. An environment stays
where it was made, as its scripts hold its path; one without its mark is removed and made again from the beginning.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from forklight.code.interpreter import InterpreterError, ask_interpreter
from forklight.config.requirements import has_hashes, read_requirements
from forklight.config.runtimes import Environment
from forklight.errors import ForklightError
from forklight.state.directory import has_one_shots, remove_tree
from forklight.state.users import User

Command = list[str]

_LOCK = "lock"
_MISLEADING = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV")
"""Variables of the installer's own environment that would have it install somewhere else."""


class InstallError(ForklightError):
    """An environment that could not be made; the message says whose, and what failed."""


@contextmanager
def installing(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Hold the lock of the folder of runtimes; wait for it, and say so, while another install holds it."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another install is at work here: waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def make(environment: Environment, user: User | None, lock: int) -> None:
    """Make it, with the installer's own progress on standard error. Hold `installing`'s lock. Raises InstallError."""
    texts = read_requirements(environment.requirements)
    remove_tree(environment.path)
    try:
        for command in commands(environment, shutil.which("uv"), hashed=has_hashes(texts)):
            _run(command, environment, lock)
        ask_interpreter(environment.python, user)
    except InterpreterError as error:
        raise InstallError(f"the runtime {environment.runtime!r} cannot be used: {error}") from None
    new = environment.path / "mark.new"
    new.write_text(f"{environment.requirements}\n")
    new.chmod(0o644)
    os.sync()  # the mark must not survive a power cut that the rest does not
    new.rename(environment.mark)


def commands(environment: Environment, uv: str | None, *, hashed: bool) -> list[Command]:
    """Return what makes the environment, in this order: by uv, a path, or by the interpreter's own venv and pip.

    What is installed is compiled too, for the functions' user may not write there. Pure.
    """
    base, path, file = str(environment.base.python), str(environment.path), str(environment.requirements)
    if uv is not None:
        checked = ["--require-hashes"] if hashed else []  # pip's own rule; uv by itself lets some be without
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


def remove_unused(state: Path, keep: Set[Path]) -> None:
    """Remove the environments that are not in `keep`, and half-made ones.

    Call it while no server uses the state directory; nothing is removed while an install or a one-shot tree is at work.
    What is only lent from another state directory, by a link, is that one's.
    """
    folder = state / "runtimes"
    if not folder.is_dir() or has_one_shots(state):
        return
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink() and path not in keep:
                remove_tree(path)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)


def _run(command: Command, environment: Environment, lock: int) -> None:
    """Run one step, where relative paths among the requirements start; all users can read what it writes."""
    environ = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
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
        raise InstallError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        what = " ".join(Path(word).name if word == command[0] else word for word in command[:4])
        raise InstallError(
            f"the runtime {environment.runtime!r} could not be made: {what} ... ended with {done.returncode}, "
            "its reason stands above"
        )
