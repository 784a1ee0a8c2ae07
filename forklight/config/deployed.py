"""The configuration of an application that was deployed: read from its unpacked package, for the server it came to.

Whoever may deploy is not the server's operator. So the tables that are the server's own are ignored, and a
configuration names no file outside of the package, no variable that `[deploy] env` does not lend, and no secret file
but those that the operator has put into the application's own folder on the server.
"""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from forklight.config.code import CodeSettings, HeaderSettings
from forklight.config.configuration import Config, Reading, config_of
from forklight.config.deploy import Lent
from forklight.config.document import FILE_NAME, Node, read_document
from forklight.config.functions import FunctionSettings, RuntimeSettings, Secret, Settings
from forklight.config.problem import ConfigError, Problem
from forklight.config.reader import Reader
from forklight.config.requirements import RequirementsError, read_requirements
from forklight.config.runtimes import NotInstalled
from forklight.config.source import completed
from forklight.config.tables import belongs
from forklight.state.directory import application_data_path, application_secrets_path

AnySecret = TypeVar("AnySecret", Secret, HeaderSettings)

SERVERS_OWN = ("http", "bus", "brokers", "queues", "admin", "log", "machine", "deploy")
"""The tables that hold for all applications of a server."""


def load_deployed(application: str, folder: Path, server: Config, state: Path, environ: Mapping[str, str]) -> Config:
    """Return the configuration in `folder` as `server`, the base configuration, allows it. Its warnings say what of it
    is ignored. `environ` are the server's variables. Blocks. Raises ConfigError with places relative to `folder`."""
    file = folder / FILE_NAME
    try:
        reader = Reader(folder, Lent(environ, server.settings.deploy.env), partial(belongs, Settings))
        if not file.is_file():
            raise ConfigError(
                [Problem(str(file), 0, "", f"is not in the package: every application needs a {FILE_NAME}")]
            )
        written, ignored = without_servers_own(read_document(file))
        root = completed(written, reader)
        settings = reader.struct(root, Settings) or Settings()
        if not settings.functions and not reader.problems:
            reader.problems.append(
                root.problem('there is no function: write [functions.hello] and its handler = "..."')
            )
        secrets = application_secrets_path(state, application)
        functions = {
            name: _placed(one, root.at("functions").at(name), folder, secrets, reader.problems)
            for name, one in settings.functions.items()
        }
        runtimes = {
            name: _inside_runtime(one, root.at("runtimes").at(name).at("requirements"), folder, reader.problems)
            for name, one in settings.runtimes.items()
        }
        own = {table: getattr(server.settings, table) for table in SERVERS_OWN}
        config = config_of(
            Reading(
                file=file,
                root=root,
                reader=reader,
                settings=replace(settings, functions=functions, runtimes=runtimes, **own),
                user=server.user,
                state=state,
                data=application_data_path(state, application),
            )
        )
    except NotInstalled as error:
        raise NotInstalled(as_written(error.problems, folder), error.environments) from None
    except ConfigError as error:
        raise ConfigError(as_written(error.problems, folder)) from None
    return replace(config, warnings=tuple(sorted(as_written((*config.warnings, *ignored), folder))))


def as_written(problems: Iterable[Problem], folder: Path, name: str = "") -> list[Problem]:
    """Return the problems with paths as whoever deployed knows them: relative to the application's folder, with the
    application's `name` in front for whoever did not deploy it."""
    known, itself = f"{name}/" * bool(name), re.compile(rf"{re.escape(str(folder))}(?![\w./-])")

    def told(text: str) -> str:
        return itself.sub("the application", text.replace(f"{folder}/", known))

    return [replace(one, file=told(one.file), message=told(one.message)) for one in problems]


def without_servers_own(root: Node) -> tuple[Node, list[Problem]]:
    """Return the document without the server's tables, and a note for each that it has."""
    if not isinstance(root.value, dict):
        return root, []
    notes = [
        node.problem(f"is ignored: [{table}] is the server's own")
        for table, node in root.value.items()
        if table in SERVERS_OWN and not (table == "bus" and _has_only_name(node))
    ]
    kept = {table: node for table, node in root.value.items() if table not in SERVERS_OWN}
    return Node(kept, root.file, root.key, root.line), notes


def _has_only_name(bus: Node) -> bool:
    """Whether it says nothing but what the application is called, which `forklight deploy` heeds."""
    return isinstance(bus.value, dict) and bus.value.keys() == {"name"}


def _placed(
    function: FunctionSettings, node: Node, folder: Path, secrets: Path, problems: list[Problem]
) -> FunctionSettings:
    """Return the function with its secrets where the operator keeps them. Appends what is outside of the package."""
    code, files = function.code, {"env_file": function.env_file, "probe": function.probe}
    if code.path is not None and not _is_inside(code.path, folder):
        problems.append(node.at("code").problem(_outside(code.path)))
        code = CodeSettings()
    for key, path in files.items():
        if path is not None and not _is_inside(path, folder):
            problems.append(node.at(key).problem(_outside(path)))
            files[key] = None
    named = {str(name): header for name, header in code.headers.items()}
    headers = _all_placed(named, node.at("code").at("headers"), folder, secrets, problems)
    return replace(
        function,
        code=replace(code, headers=headers),
        **files,
        secrets=_all_placed(function.secrets, node.at("secrets"), folder, secrets, problems),
    )


def _all_placed(
    named: Mapping[str, AnySecret], node: Node, folder: Path, secrets: Path, problems: list[Problem]
) -> dict[str, AnySecret]:
    placed = {}
    for name, secret in named.items():
        try:
            placed[name] = _secret(secret, folder, secrets)
        except ValueError as error:
            problems.append(node.at(name).problem(str(error)))
    return placed


def _secret(secret: AnySecret, folder: Path, secrets: Path) -> AnySecret:
    """Return the secret with the path on the server. Raises ValueError."""
    if secret.file is None:
        return secret
    relative = os.path.relpath(secret.file, folder)
    if Path(relative).parts[0] == ".." or not secret.file.is_relative_to(folder):
        raise ValueError(
            f"names a file outside of the application: write a relative path, such as "
            f'{{ file = "{secret.file.name}" }}, which is looked up in {secrets} on the server'
        )
    path = secrets / relative
    if not path.exists():
        raise ValueError(f"needs the file {path} on the server: files of secrets are not packed, so put it there")
    return replace(secret, file=path)


def _inside_runtime(runtime: RuntimeSettings, place: Node, folder: Path, problems: list[Problem]) -> RuntimeSettings:
    """Return the runtime without requirements that are outside of the package: what such a file holds could reach
    whoever deployed. Appends them."""
    if runtime.requirements is None:
        return runtime
    named = [runtime.requirements]
    with suppress(RequirementsError):  # the finder reports it
        if _is_inside(named[0], folder):
            named += [named[0].parent / one for one in read_requirements(named[0])]
    outside = [path for path in named if not _is_inside(path, folder)]
    problems += [place.problem(_outside(path)) for path in outside]
    return replace(runtime, requirements=None) if outside else runtime


def _is_inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _outside(path: Path) -> str:
    return f"{path} is outside of the application, and only what is in it was deployed: copy it there"
