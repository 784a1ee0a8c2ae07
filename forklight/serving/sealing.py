"""Copies of programs that nobody may read, so that no process of the functions' user can inspect those that run them.

A Python guest forbids its inspection itself (PR_SET_DUMPABLE), but an execve(2) allows it again: then a function at
level `limits` could read the variables and secrets of another one of the same user. The kernel makes an exception
for a program that its user may execute and not read, so a server has its functions run such a copy. All block.
"""

import logging
import shutil
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from msgspec.structs import replace

from forklight.config.configuration import Config
from forklight.config.problem import ConfigError, Problem
from forklight.state.directory import StateError, open_runtimes, remove_tree
from forklight.state.users import User, run_as
from sandbox.spec import FunctionSpec, Runtime

log = logging.getLogger(__name__)

_PREFIX = "sealed-"
_ANSWER_WITHIN_S = 30.0


def sealed(config: Config, state: Path) -> dict[str, Runtime]:
    """Return the runtimes of `config`, those of Node.js with copies below `state`. Raises ConfigError."""
    try:
        return {name: _sealed(runtime, state, config.user) for name, runtime in config.runtimes.items()}
    except (OSError, StateError) as error:
        raise ConfigError([Problem(str(config.path), 0, "runtimes", f"no copy of Node.js: {error}")]) from error


def remove_unused_copies(state: Path, specs: Iterable[FunctionSpec]) -> None:
    """Remove the copies that no function runs."""
    used = {Path(program).parent for spec in specs for program in spec.runtime.command[:1]}
    for folder in (state / "runtimes").glob(f"{_PREFIX}*"):
        if folder not in used:
            remove_tree(folder)


def _sealed(runtime: Runtime, state: Path, user: User | None) -> Runtime:
    if runtime.kind != "node":
        return runtime
    program, *arguments = runtime.command
    copy = copy_of(Path(program), open_runtimes(state, user))
    if not _runs(copy, user):
        log.warning(
            "runtime %s: a copy of %s does not run, so functions at level limits can inspect its processes",
            *(runtime.name, program),
        )
        return runtime
    return replace(runtime, command=(str(copy), *arguments))


def copy_of(program: Path, runtimes: Path) -> Path:
    """Return the copy of this very file in the folder `runtimes`, made in one step if there is none."""
    real = program.resolve()
    found = real.stat()
    key = sha256(repr((str(real), found.st_size, found.st_mtime_ns, found.st_ino)).encode()).hexdigest()[:12]
    final = runtimes / f"{_PREFIX}{key}"
    if not (final / program.name).exists():
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=runtimes))
        try:
            shutil.copyfile(real, new / program.name)
            (new / program.name).chmod(0o111)
            new.chmod(0o755)
            new.rename(final)
        except OSError:
            remove_tree(new)
            if not (final / program.name).exists():  # else another process was faster
                raise
    return final / program.name


def _runs(copy: Path, user: User | None) -> bool:
    """Whether it finds its libraries: some look for them beside the program."""
    return run_as(user, str(copy), "--version", within_s=_ANSWER_WITHIN_S).returncode == 0
