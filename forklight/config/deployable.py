"""The configuration of an application before it is deployed: what can be known of it without the server.

The server's variables, secrets, brokers and interpreters are elsewhere, so nothing is said of their values here; and
its own tables do not matter. What is wrong in any case is found before anything is uploaded.
"""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from forklight.config.code import CodeSettings
from forklight.config.configuration import Config, Reading, config_of, libraries_of
from forklight.config.deployed import as_written, without_servers_own
from forklight.config.document import FILE_NAME, Node, read_document
from forklight.config.functions import FunctionSettings, Name, Settings
from forklight.config.problem import ConfigError, Problem
from forklight.config.queue import BrokerSettings, BrokerUrl
from forklight.config.reader import Reader
from forklight.config.requirements import RequirementsError, read_requirements
from forklight.config.source import completed
from forklight.config.tables import belongs
from forklight.state.directory import state_path
from forklight.state.users import unprivileged_user


class Deployable(Struct, frozen=True, kw_only=True):
    """An application that may be packed."""

    folder: Path
    code: frozenset[Path]
    """The folders, modules and zips that its functions are loaded from; all are in `folder`."""
    also: frozenset[Path]
    """What else belongs into the package: the configuration, env files, requirements."""
    apart: frozenset[Path]
    """What must not be in it: files of secrets, and the state directory."""
    functions: tuple[str, ...]
    notes: tuple[Problem, ...]
    """What the server has to see to."""
    config: Config | None
    """None if an interpreter is missing here."""


def load_deployable(folder: Path, environ: Mapping[str, str]) -> Deployable:
    """Return the application in `folder`. Blocks. Raises ConfigError with places relative to `folder`."""
    folder = Path(os.path.abspath(folder))
    try:
        found = _load(folder, environ)
    except ConfigError as error:
        raise ConfigError(as_written(error.problems, folder)) from None
    return replace(found, notes=tuple(sorted(as_written(found.notes, folder))))


def _load(folder: Path, environ: Mapping[str, str]) -> Deployable:
    file = folder / FILE_NAME
    reader = Reader(folder, environ, partial(belongs, Settings))
    written, notes = without_servers_own(read_document(file))
    root = completed(written, reader)
    settings = reader.struct(root, Settings) or Settings()
    reader.forgive(())  # variables that are not set here
    if not settings.functions and not reader.problems:
        reader.problems.append(root.problem('there is no function: write [functions.hello] and its handler = "..."'))
    also = {file, *_files_of(settings, root, reader.problems)}
    reader.problems += _outside(settings, root, folder)
    if reader.problems:
        raise ConfigError(reader.problems)
    state = state_path(None, environ, file)
    config, missing = _config(file, root, reader, _alone(settings), state)
    every = settings.functions.values()
    return Deployable(
        folder=folder,
        code=frozenset(one.code.path or folder for one in every if one.code.url is None),
        also=frozenset(also),
        apart=frozenset({state, *(file for one in every for _, file in _secret_files(one, root))})
        | libraries_of(settings),
        functions=tuple(sorted(settings.functions)),
        notes=(*notes, *missing, *(config.warnings if config else ())),
        config=config,
    )


def _config(
    file: Path, root: Node, reader: Reader, settings: Settings, state: Path
) -> tuple[Config | None, tuple[Problem, ...]]:
    """Return the configuration; or None, and which interpreters are missing here. Raises ConfigError."""
    try:
        user = unprivileged_user()
        reading = Reading(
            file=file, root=root, reader=reader, settings=settings, user=user, state=state, data=state / "data"
        )
        return config_of(reading), ()
    except ConfigError as error:
        of_machine = [one for one in error.problems if one.key.startswith("runtimes.")]
        if len(of_machine) < len(error.problems):
            raise ConfigError(set(error.problems) - set(of_machine)) from None
        return None, tuple(replace(one, message=f"not here, and so not checked: {one.message}") for one in of_machine)


def _alone(settings: Settings) -> Settings:
    """Return settings without what only the server has: secrets, environments, brokers, code from elsewhere."""
    functions = {name: replace(one, secrets={}, code=_unpulled(one.code)) for name, one in settings.functions.items()}
    brokers = {queue.broker for one in functions.values() for queue in one.queue if queue.broker}
    return replace(
        settings,
        functions=functions,
        runtimes={name: replace(one, requirements=None) for name, one in settings.runtimes.items()},
        brokers={Name(name): BrokerSettings(url=BrokerUrl("amqp://localhost/")) for name in brokers},
    )


def _unpulled(code: CodeSettings) -> CodeSettings:
    """The server pulls it, with secrets of its own: here it is looked at only if it is here."""
    return code if code.url is None else replace(code, headers={}, pull="first")


def _files_of(settings: Settings, root: Node, problems: list[Problem]) -> set[Path]:
    """Return the env files, the probes, and the requirements with what they name."""
    functions = settings.functions.values()
    found = {file for one in functions for file in (one.env_file, one.probe) if file}
    for name, runtime in settings.runtimes.items():
        if runtime.requirements is not None:
            try:
                texts = read_requirements(runtime.requirements)
                found |= {Path(os.path.normpath(runtime.requirements.parent / one)) for one in texts}
            except RequirementsError as error:
                problems.append(root.at("runtimes").at(name).at("requirements").problem(str(error)))
    return found


def _outside(settings: Settings, root: Node, folder: Path) -> list[Problem]:
    """Return what is named outside of the folder, which would not be in the package."""
    problems = []

    def require(place: Node, path: Path | None, advice: str) -> None:
        if path is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            problems.append(place.problem(f"{path} is outside of the application: {advice}"))

    for name, function in settings.functions.items():
        place = root.at("functions").at(name)
        files = {"code": function.code.path, "env_file": function.env_file, "probe": function.probe}
        for key, path in files.items():
            require(place.at(key), path, "only what is in its folder is deployed, so copy it there")
        for secret, file in _secret_files(function, place):
            advice = "name it by a relative path, which is looked up among the application's secrets on the server"
            require(secret, Path(os.path.normpath(file)), advice)  # it need not be here, nor where a link leads here
    return problems


def _secret_files(function: FunctionSettings, place: Node) -> Iterator[tuple[Node, Path]]:
    """Yield the files of secrets, with the places that name them."""
    headers = place.at("code").at("headers")
    named: list[tuple[Node, Path | None]] = []
    named += [(place.at("secrets").at(name), secret.file) for name, secret in function.secrets.items()]
    named += [(headers.at(name), header.file) for name, header in function.code.headers.items()]
    return ((node, file) for node, file in named if file is not None)
