"""Environments for deployed applications. Everything here blocks.

Packages run code of their own when they are installed, and which packages these are says whoever deployed. So the
installer gets no variable of the server's but those of pip, uv and proxies, works on a copy of the application, and as
root runs as the functions' user; what it has made then becomes root's, so that no function can change it.
"""

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from forklight.code.interpreter import InterpreterError, ask_interpreter
from forklight.config.requirements import has_hashes, read_requirements
from forklight.config.runtimes import Environment
from forklight.serving.installing import MISLEADING, Command, InstallError, commands, installing, publish
from forklight.state.directory import State, open_runtimes, remove_tree
from forklight.state.users import User, as_user

log = logging.getLogger(__name__)

WITHIN_S = 1800.0
"""How long one command of the installer may take. Large wheels over a slow line take minutes."""
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PREFIXES = ("PIP_", "UV_")
_MOST_LINES = 20
"""Lines of the installer that an error quotes."""


def install_deployed(environments: Iterable[Environment], user: User | None, state: State) -> None:
    """Make these environments, unless they exist by now. Raises InstallError, with what the installer said last."""
    folder = open_runtimes(state.path, user)
    with installing(folder, log.warning) as lock:
        for environment in environments:
            if not environment.is_ready:
                _make(environment, user, lock, state)


def _make(environment: Environment, user: User | None, lock: int, state: State) -> None:
    work = Path(tempfile.mkdtemp(prefix="install-", dir=state.tmp))
    try:
        copy = work / "application"
        application = environment.configuration.parent
        shutil.copytree(application, copy, symlinks=True)
        (work / "home").mkdir()
        remove_tree(environment.path)
        environment.path.mkdir()
        environment.path.chmod(0o755)
        if user:
            _give(work, user.uid, user.gid)
            _give(environment.path, user.uid, user.gid)
        file = copy / environment.requirements.relative_to(application)
        copied = replace(environment, requirements=file)
        for command in commands(copied, shutil.which("uv"), hashed=has_hashes(read_requirements(file))):
            _run([*as_user(user), *command], copied, work, lock)
        if user:
            _give(environment.path, 0, user.gid)
        ask_interpreter(environment.python, user)
        publish(environment)
    except InterpreterError as error:
        raise InstallError(f"the runtime {environment.runtime!r} cannot be used: {error}") from None
    finally:
        remove_tree(work)


def _run(command: Command, environment: Environment, work: Path, lock: int) -> None:
    output = work / "output"
    try:
        with output.open("wb") as said:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=environment.requirements.parent,
                env=_environ(work / "home"),
                umask=0o022,
                pass_fds=(lock,),
                timeout=WITHIN_S,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise InstallError(_told(environment, f"it took longer than {WITHIN_S:g} s", output)) from None
    except OSError as error:
        raise InstallError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        raise InstallError(_told(environment, f"the installer ended with {done.returncode}", output))


def _environ(home: Path) -> dict[str, str]:
    """Return the variables of the installer, and so of what packages run in it."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PREFIXES) or name.lower().endswith("_proxy")
    }
    own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home), "PIP_USER": "0"}
    return {name: value for name, value in passed.items() if name not in MISLEADING} | own


def _told(environment: Environment, why: str, output: Path) -> str:
    with suppress(OSError):
        lines = output.read_text(errors="replace").strip().splitlines()[-_MOST_LINES:]
        why = "\n".join([f"{why}:", *lines]) if lines else why
    return f"the runtime {environment.runtime!r} could not be made of {environment.requirements.name}: {why}"


def _give(folder: Path, owner: int, group: int) -> None:
    """Make a folder and all in it theirs. Follows no link, as a process of the installer may be left."""
    for _, folders, files, handle in os.fwalk(folder):
        os.chown(handle, owner, group)
        for name in (*folders, *files):
            os.chown(name, owner, group, dir_fd=handle, follow_symlinks=False)
