"""Finds the program of a command: in the function's code, at an absolute path, or on PATH."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from forklight.errors import ForklightError
from forklight.state.users import User, blocking

HERE = "./"
"""What a program in the function's code begins with."""


class CommandError(ForklightError):
    """The command cannot be run; the message says why and what to do."""


class Found(Struct, frozen=True):
    """A command, whose program is absolute or begins with `./`, and how its program differs from an older one."""

    command: tuple[str, ...]
    release: str = ""


def find_command(written: tuple[str, ...], user: User | None) -> Found:
    """Return what was written, with the program as it was found. Blocks. Raises CommandError."""
    if not written or not written[0]:
        raise CommandError('has no program: write ["./bootstrap"], or a path and arguments')
    if any("\0" in one for one in written):
        raise CommandError("has a zero byte, which no argument can have")
    program, *arguments = written
    if "/" not in program:
        found = shutil.which(program)
        if found is None:
            raise CommandError(f'there is no {program} on PATH; a program in the function\'s code is "./{program}"')
        program = os.path.abspath(found)
    if not os.path.isabs(program):
        parts = Path(program).parts
        if ".." in parts or not parts:
            raise CommandError(f'"{program}" leads out of the function\'s code: write an absolute path')
        return Found((HERE + "/".join(parts), *arguments))
    return Found((program, *arguments), _release(Path(program), user))


def _release(program: Path, user: User | None) -> str:
    """When it was last changed. Raises CommandError if it cannot be executed."""
    try:
        status = program.stat()
        place = blocking(program, user)
    except OSError as error:
        raise CommandError(f"{program} cannot be executed: {error.strerror}") from None
    if place is not None:  # what its user may not read, the kernel does not let its instance look at either (peers.py)
        who = user.who if user else "this user"
        raise CommandError(f"{program} cannot be read by {who} ({place} blocks the way): move it, or open it")
    if not program.is_file() or not status.st_mode & 0o111:
        raise CommandError(f"{program} cannot be executed: run `chmod +x {program}`")
    return f"of {datetime.fromtimestamp(status.st_mtime, UTC):%Y-%m-%dT%H:%M:%SZ}"


def missing_in(code: Path, command: tuple[str, ...]) -> str:
    """Why a program in the function's code cannot be executed; empty if it can, or if it is elsewhere."""
    program = command[0] if command else ""
    is_in_code = "/" in program and not os.path.isabs(program) and ".." not in Path(program).parts
    if not is_in_code or not os.path.isdir(code):
        return ""
    path = code / program
    if not os.path.isfile(path):
        return f'command = ["{program}"]: there is no {os.path.normpath(path)}'
    if not os.access(path, os.X_OK):
        return f"{os.path.normpath(path)} may not be executed: run `chmod +x {os.path.normpath(path)}`"
    return ""
