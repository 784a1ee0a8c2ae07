"""Finds Node.js and runs it once to ask for its version, as the user that functions will run as."""

import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from forklight.errors import ForklightError
from forklight.state.users import User, blocking, run_as

OLDEST = 18
"""The guest needs at least this version."""
OLDEST_WITH_SNAPSHOTS = 20
"""The first version that keeps what the guest and a function need."""
_ANSWER_WITHIN_S = 30.0
_QUESTION = "JSON.stringify({ path: process.execPath, version: process.versions.node })"
_VERSION = re.compile(r"v?(\d+)(\.\d+)?(\.\d+)?")
_MANAGED = ("~/.nvm/versions/node/v{}*/bin/node", "~/.local/share/fnm/node-versions/v{}*/installation/bin/node")


class NodeError(ForklightError):
    """Node.js cannot be found, reached or used; the message says why and what to do."""


class NodeProgram(Struct, frozen=True):
    """Node.js as it tells: its program, to which a script of a version manager leads, and its version: `20.11.1`."""

    path: Path
    version: str


def major(version: str) -> int:
    """The first number of a version."""
    return int(version.partition(".")[0])


def find_node(written: str, base: Path, user: User | None) -> NodeProgram:
    """Return the program that `written` means: a path, the folder of an installation, `node`, or a version such as 20.

    A relative path starts at `base`. Blocks for up to 30 s. Raises NodeError.
    """
    if not written:
        raise NodeError('it is empty: write "node" for the one on PATH, a version such as "20", or a path')
    if _VERSION.fullmatch(written):
        return _of_version(written.removeprefix("v"), user)
    if "/" not in written and (found := shutil.which(written)):
        return _asked(Path(found).absolute(), user)
    path = (base / Path(written).expanduser()).absolute()
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            path /= "bin/node"
            path.stat()
    except (FileNotFoundError, NotADirectoryError):
        missing = f"no {path}" if "/" in written else f"no {written} on PATH"
        advice = "install Node.js (Debian: apt-get install nodejs), or write its path"
        raise NodeError(f'"{written}" is not found: there is {missing}; {advice}') from None
    except OSError as error:
        raise NodeError(f"{path} cannot be read: {error.strerror}") from error
    return _asked(path, user)


def _of_version(version: str, user: User | None) -> NodeProgram:
    """The newest program of this version: one on PATH, or one of nvm or fnm."""
    found = {one.path: one for path in _candidates(version) if (one := _answer(path, user)) is not None}
    fitting = [one for one in found.values() if f"{one.version}.".startswith(f"{version}.")]
    if fitting:
        return max(fitting, key=lambda one: [int(part) for part in one.version.split(".")])
    there = ", ".join(f"{one.version} ({one.path})" for one in found.values()) or "none on PATH"
    raise NodeError(f"there is no Node.js {version}, but {there}: install it, or write its path")


def _candidates(version: str) -> Iterator[Path]:
    major = version.partition(".")[0]
    for name in (f"node{major}", f"node-{major}", "node", "nodejs"):
        if found := shutil.which(name):
            yield Path(found).absolute()
    for pattern in _MANAGED:
        anchor = Path(pattern.format(version)).expanduser()
        yield from sorted(Path("/").glob(str(anchor.relative_to("/"))))


def _answer(path: Path, user: User | None) -> NodeProgram | None:
    try:
        return _asked(path, user)
    except NodeError:
        return None


def _asked(path: Path, user: User | None) -> NodeProgram:
    """Run it. Raises NodeError."""
    if (place := blocking(path, user)) is not None:
        who = user.who if user else "this user"
        raise NodeError(f"{path} cannot be read by {who} ({place} blocks the way): move it, open it, or take another")
    try:
        done = run_as(user, str(path), "-p", _QUESTION, within_s=_ANSWER_WITHIN_S)
    except subprocess.TimeoutExpired:
        raise NodeError(f"{path} gave no answer in {_ANSWER_WITHIN_S:.0f} s: is it Node.js?") from None
    except OSError as error:
        raise NodeError(f"{path} cannot be run: {error.strerror}") from error
    try:
        found = msgspec.json.decode(done.stdout, type=NodeProgram, dec_hook=lambda cls, text: cls(text))
    except msgspec.MsgspecError:
        told = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise NodeError(f"{path} is not Node.js: asked for its version, it says {told[-100:]!r}") from None
    if major(found.version) < OLDEST:
        raise NodeError(f"{path} is Node.js {found.version}: functions need {OLDEST} or later")
    return found
