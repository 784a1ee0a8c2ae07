"""`forklight install`: makes the environments of the runtimes of a configuration."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import click
from msgspec import Struct

from forklight.config.document import Node, read_document
from forklight.config.functions import Name, RuntimeSettings
from forklight.config.machine import MachineSettings
from forklight.config.problem import ConfigError
from forklight.config.reader import Reader
from forklight.config.runtimes import Environment, Finder
from forklight.config.source import locate
from forklight.observe.terminal import say
from forklight.serving import installing
from forklight.state.directory import open_runtimes, state_path, without_server
from forklight.state.users import User, unprivileged_user


class _Settings(Struct, frozen=True, kw_only=True):
    """The tables that decide what is installed. Others may name files that do not exist yet, such as secrets."""

    runtimes: dict[Name, RuntimeSettings] = {}
    machine: MachineSettings = MachineSettings()


class _Wanted(Struct, frozen=True):
    environments: list[Environment]
    user: User | None
    state: Path
    configuration: Path


@click.command(short_help="Make the environments of runtimes with requirements.")
@click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state directory.")
def install(path: Path, state: Path | None) -> int:
    """Make the environments of all [runtimes.x] that have requirements: with uv if it is installed, else venv and pip.

    Environments that exist are left alone. The installer's output goes to standard error.

    \b
    Examples:
      forklight install                the forklight.toml of this directory
      forklight install app/
    """
    wanted = _wanted(path, os.environ, state)
    if not wanted.environments:
        say('nothing to install: no [runtimes.x] has requirements = "requirements.txt"')
        return 0
    folder = open_runtimes(wanted.state, wanted.user)
    with installing.installing(folder, _say) as lock:
        for environment in wanted.environments:
            _install(environment, wanted.user, lock)
    with without_server(wanted.state) as is_free:
        if is_free:  # otherwise the next start of a server does this
            keep = {environment.path for environment in wanted.environments}
            installing.remove_unused(wanted.state, wanted.configuration, keep)
    return 0


def _wanted(path: Path, environ: Mapping[str, str], state: Path | None) -> _Wanted:
    """Raises ConfigError for problems of the runtimes."""
    file = locate(path)
    reader = Reader(file.parent, environ)
    root = read_document(file) if file.suffix != ".py" else Node({}, str(file))
    tables = {key: node for key, node in root.value.items() if key in ("runtimes", "machine")}
    settings = reader.struct(Node(tables, root.file), _Settings) or _Settings()
    place = state_path(state, environ, file)
    try:
        user = unprivileged_user(settings.machine.user)
    except ValueError as error:
        raise ConfigError([root.at("machine").at("user").problem(str(error)), *reader.problems]) from None
    finder = Finder(root, reader, user, place)
    asked = {str(name): runtime for name, runtime in settings.runtimes.items() if runtime.requirements}
    found = [finder.environment(name, runtime) for name, runtime in asked.items()]
    if reader.problems:
        raise ConfigError(reader.problems)
    return _Wanted([environment for environment in found if environment is not None], user, place, file.resolve())


def _install(environment: Environment, user: User | None, lock: int) -> None:
    name = environment.runtime
    if environment.is_ready:
        say(f"{name}: installed already, in {environment.path}")
        return
    base = environment.base
    _say(f"{name}: making an environment of {environment.requirements} with Python {base.version} ({base.python})")
    begun = time.monotonic()
    try:
        installing.make(environment, user, lock)
    except installing.InstallError as error:
        raise click.ClickException(str(error)) from None
    say(f"{name}: installed in {time.monotonic() - begun:.1f} s, in {environment.path}")


def _say(line: str) -> None:
    say(line, err=True)
