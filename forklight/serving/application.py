"""The identity of this application on a shared broker: its name, and what its nodes have in common. Blocks."""

import os
from hashlib import sha256
from pathlib import Path

from bus.rabbitmq import Application, safe_name
from forklight.config.configuration import Config, Function
from forklight.config.document import FILE_NAME


def application_of(config: Config) -> Application:
    """Return the application of this configuration."""
    return Application(
        name=application_name(config),
        path=str(config.origin),
        code=_code(config),
        adopts=config.settings.bus.adopt,
    )


def application_name(config: Config) -> str:
    """`[bus] name`, else the name of the folder; also that of the file, unless it is forklight.toml."""
    return safe_name(config.settings.bus.name or _default_name(config.origin))


def _default_name(file: Path) -> str:
    if file.name == FILE_NAME:
        return file.parent.name
    return file.stem if file.suffix == ".py" else f"{file.parent.name}-{file.stem}"


def _code(config: Config) -> str:
    """Hash the handlers' files: nodes in different folders may run the same code."""
    files = {(_module(function), _source(function, config)) for function in config.functions.values()}
    return sha256(repr(sorted(files)).encode()).hexdigest()[:16]


def _module(function: Function) -> str:
    return function.settings.handler.partition(":")[0]


def _source(function: Function, config: Config) -> str:
    if function.source is not None:
        return function.source.sha256
    name = _module(function)
    module = function.code.joinpath(*name.split("."))
    scripts = (function.code / f"{name}{ending}" for ending in (".js", ".mjs", ".cjs"))
    runtime = config.runtimes[function.settings.runtime]
    programs = [] if runtime.program else [function.code / one for one in runtime.command[:1]]
    for path in (function.code, module.with_suffix(".py"), module / "__init__.py", *scripts, *programs):
        if os.path.isfile(path):
            return sha256(path.read_bytes()).hexdigest()
    return ""
