"""Finds an interpreter and runs it once to ask for its version and paths, as the user that functions will run as."""

import platform
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from forklight.errors import ForklightError
from forklight.state.users import User, blocking, run_as

OLDEST = (3, 10)
"""The guest needs at least this version of Python."""

ANSWER_WITHIN_S = 30.0
"""An interpreter answers in about 30 ms; on a loaded machine or a cold disk it may take a thousand times as long."""

_QUESTION = """
import json, platform, sys
print(json.dumps({"python": sys.executable, "version": platform.python_version(), "prefix": sys.prefix,
                  "base_prefix": sys.base_prefix, "cache_tag": sys.implementation.cache_tag}))
"""


class Interpreter(Struct, frozen=True):
    """What an interpreter reports. `cache_tag` is part of the names of its byte-compiled files."""

    python: Path
    version: str
    prefix: str
    base_prefix: str
    cache_tag: str

    @property
    def is_ours(self) -> bool:
        """Whether this process runs on this interpreter."""
        return self == own_interpreter()


class InterpreterError(ForklightError):
    """An interpreter that cannot be found, reached or used; the message says why and what to do."""


def own_interpreter() -> Interpreter:
    """Return the interpreter of this process."""
    tag = sys.implementation.cache_tag
    return Interpreter(Path(sys.executable), platform.python_version(), sys.prefix, sys.base_prefix, tag)


def find_python(written: str, base: Path) -> Path:
    """Return the executable `written` means: a path, an environment's directory, or a version such as `3.12`.

    A relative path starts at `base`. Raises InterpreterError.
    """
    command = f"python{written}" if written[:1].isdigit() else written
    if "/" not in command and (found := shutil.which(command)):
        return Path(found).absolute()
    path = (base / Path(written).expanduser()).absolute()
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return path
        if not (path / "bin/python").exists():
            raise InterpreterError(f"{path} is a directory but no environment: it has no bin/python")
    except (FileNotFoundError, NotADirectoryError):
        missing = f"no {path}" if "/" in written else f"no {command} on PATH"
        raise InterpreterError(f'"{written}" is not found: there is {missing}; install it, or write its path') from None
    except OSError as error:
        raise InterpreterError(f"{path} cannot be read: {error.strerror}") from error
    return path / "bin/python"


def ask_interpreter(python: Path, user: User | None) -> Interpreter:
    """Run `python` as `user` and return its answer. Blocks for up to 30 s. Raises InterpreterError.

    A user who cannot pass a directory may yet start an interpreter under it, which then silently takes the libraries of
    another; so what it needs is looked at first.
    """
    _require_readable(python, user)
    answer = own_interpreter() if python == Path(sys.executable) else _ask(python, user)
    for prefix in (answer.prefix, answer.base_prefix):
        _require_readable(Path(prefix), user)
    if tuple(map(int, answer.version.split(".")[:2])) < OLDEST:
        raise InterpreterError(f"{python} is Python {answer.version}: functions need 3.10 or later")
    return answer


def installed(python: Path, module: str, user: User | None) -> bool:
    """Return whether `python` finds a top-level module; nothing of it is imported. True if that cannot be told. Blocks.

    It asks the finders, as an import does: an editable install may have one of its own.
    """
    question = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None and 3)"
    try:
        done = _run(python, user, question)
    except (OSError, subprocess.SubprocessError):
        return True
    return done.returncode != 3


def _run(python: Path, user: User | None, question: str) -> "subprocess.CompletedProcess[bytes]":
    """Raises OSError or SubprocessError."""
    return run_as(user, str(python), "-I", "-c", question, within_s=ANSWER_WITHIN_S)


def _ask(python: Path, user: User | None) -> Interpreter:
    try:
        done = _run(python, user, _QUESTION)
    except subprocess.TimeoutExpired:
        raise InterpreterError(f"{python} gave no answer in {ANSWER_WITHIN_S:.0f} s: is it a Python?") from None
    except OSError as error:
        raise InterpreterError(f"{python} cannot be run: {error.strerror}") from error
    try:
        return msgspec.json.decode(done.stdout, type=Interpreter, dec_hook=lambda cls, text: cls(text))
    except msgspec.MsgspecError:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InterpreterError(
            f"{python} is not Python 3.10 or later: exit status {done.returncode}, {said[-1] if said else 'no message'}"
        ) from None


def _require_readable(path: Path, user: User | None) -> None:
    try:
        place = blocking(path, user)
    except OSError as error:
        raise InterpreterError(f"{path} cannot be read: {error.strerror}") from error
    if place is None:
        return
    who = user.who if user else "this user"
    what = "cannot be read by" if place == path.resolve() else f"is blocked by {place} for"
    raise InterpreterError(f"{path} {what} {who}: move it, open it, or take another interpreter")
