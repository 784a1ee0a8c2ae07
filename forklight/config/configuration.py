"""The configuration: `forklight.toml`, checked as a whole, with everything it names looked up.

Every package declares the frozen struct of its own settings; `function.py` puts them together, `reader.py` reads them.
This module does what needs more than one key: defaults, environments, interpreters, the user. It finds all problems
before it reports any.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from bus.event import Event
from dispatcher.settings import PoolSettings
from forklight.code.archive import SUFFIX, is_archive
from forklight.code.command import missing_in
from forklight.code.interpreter import Interpreter
from forklight.code.selection import NODE_MODULES
from forklight.config.admin import admin_problems
from forklight.config.code import CodeSettings
from forklight.config.document import FILE_NAME, Node, read_document
from forklight.config.environment import (
    Secrets,
    data_variable,
    exec_only_warnings,
    read_environment,
    read_headers,
    zone_warnings,
)
from forklight.config.functions import FunctionSettings, Name, RuntimeSettings, Settings
from forklight.config.hint import did_you_mean, near_file
from forklight.config.http import check_listen, check_static, routes_of
from forklight.config.isolation import mount_problems
from forklight.config.kinds import function_problems, likely_runtime
from forklight.config.machine import Needs, machine_problems, user_of
from forklight.config.probe import probe_of
from forklight.config.problem import ConfigError, Problem
from forklight.config.queue import Consuming, check_queues, embedded_warnings, triggers_of
from forklight.config.reader import Reader
from forklight.config.reuse import reuse_problems
from forklight.config.runtimes import Environment, Finder, NotInstalled, Runtimes
from forklight.config.source import completed, locate, single_file
from forklight.config.tables import belongs
from forklight.config.timer import all_timers, timer_warnings
from forklight.config.uids import uid_problems, user_warnings
from forklight.packages.source import Source
from forklight.packages.store import PackageStore
from forklight.state.data import data_path
from forklight.state.directory import state_path
from forklight.state.uids import uids_path
from forklight.state.users import User
from sandbox import hardware
from sandbox.spec import Runtime
from triggers.http import Route
from triggers.queue.settings import QueueTrigger
from triggers.timer import Timer

DEFAULT_RUNTIME = "default"


class Function(Struct, frozen=True, kw_only=True):
    """One function with everything looked up. `code` is an absolute path: of a directory, a zip or a file.

    With a `source`, it is that of a package, which may have to be pulled.
    """

    name: str
    settings: FunctionSettings
    code: Path
    source: Source | None = None
    env: dict[str, str]
    secrets: Secrets
    pool: PoolSettings
    probe: Event | None = None
    """What a deploy runs on a new version before that serves."""
    node: Node
    """The place of later problems."""

    @property
    def has_own_user(self) -> bool:
        """Whether it gets one, if functions do. Those that share files have the same: SQLite could not share them."""
        return not self.settings.data


class Config(Struct, frozen=True, kw_only=True):
    """A configuration without problems. `path` is the absolute file it was read from: a `forklight.toml` or a `.py`."""

    path: Path
    origin: Path
    """The path as given, with symbolic links kept: it stays the same through deployments."""
    settings: Settings
    functions: dict[str, Function]
    runtimes: dict[str, Runtime]
    interpreters: dict[str, Interpreter]
    """What each runtime's interpreter reported, by the name of the runtime."""
    environments: dict[str, Environment] = {}
    """Those that `forklight install` has made, by the names of their runtimes."""
    user: User | None
    """The user that functions run as; None is the user of this process."""
    state: Path
    """The state directory. It may not exist."""
    data: Path
    """The folder of functions with `data = true`. It may not exist."""
    uids: Path
    """The file of the functions' own users. It may not exist."""
    routes: tuple[Route, ...] = ()
    queues: tuple[QueueTrigger, ...] = ()
    """Every queue that a function consumes, its inbox included."""
    timers: tuple[Timer, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def packages(self) -> frozenset[str]:
        """The packages that code comes from, by their SHA-256."""
        return frozenset(one.source.sha256 for one in self.functions.values() if one.source is not None)

    @property
    def no_code(self) -> frozenset[Path]:
        """The files that are never copied into a snapshot: the configuration, env files, secrets and those of TLS."""
        every = list(self.settings.functions.values())  # also those of functions that this process does not run
        named = [settings.env_file for settings in every]
        named += [secret.file for settings in every for secret in settings.secrets.values()]
        named += [header.file for settings in every for header in settings.code.headers.values()]
        named += [self.settings.admin.certificate, self.settings.admin.key]
        own = [self.path] if self.path.suffix != ".py" else []
        return frozenset(path for path in (*named, *own) if path)

    @property
    def apart(self) -> frozenset[Path]:
        """The same, and what else a selection of files of the code has to know."""
        return self.no_code | libraries_of(self.settings)


def libraries_of(settings: Settings) -> frozenset[Path]:
    """With a runtime that is not Python, `node_modules` is code, wherever it lies."""
    has_others = any(one.kind != "python" for one in settings.runtimes.values())
    return frozenset({NODE_MODULES} if has_others else ())


class Reading(Struct, frozen=True, kw_only=True):
    """What a configuration is made of: its document, as read so far, and what it is read for."""

    file: Path
    root: Node
    reader: Reader
    settings: Settings
    user: User | None
    state: Path
    """The state directory. It may not exist."""
    data: Path
    only: str | None = None
    """Nothing but this function will run, without triggers."""


def load(
    path: Path,
    environ: Mapping[str, str],
    state: Path | None = None,
    only: str | None = None,
    *,
    may_be_empty: bool = False,
) -> Config:
    """Return the configuration of a directory, a `.toml` file, or a single `.py` file, which needs none.

    `${VAR}` and `secrets` read from `environ`; `state` is the value of --state, where installed runtimes are. With
    `only`, nothing but that function will run, without triggers: what other functions and the rest of the file lack
    (variables, secrets, files, runtimes) is no problem then. With `may_be_empty`, or with `[deploy]`, it needs no
    functions. Blocks: it reads files and runs the interpreters. Raises ConfigError.
    """
    file = locate(path)
    reader = Reader(file.parent, environ, partial(belongs, Settings))
    root = single_file(file) if file.suffix == ".py" else completed(read_document(file), reader)
    return _of_server(file, root, reader, state_path(state, environ, file), only, may_be_empty=may_be_empty)


def empty(folder: Path, state: Path, environ: Mapping[str, str]) -> Config:
    """Return the configuration of a server without one, which starts in `folder`: everything is the default."""
    file = folder / FILE_NAME
    return _of_server(
        file, Node({}, str(file)), Reader(folder, environ), state_path(state, environ, file), None, may_be_empty=True
    )


def _of_server(file: Path, root: Node, reader: Reader, place: Path, only: str | None, *, may_be_empty: bool) -> Config:
    settings = reader.struct(root, Settings) or Settings()
    if _has_no_functions(root) and not (may_be_empty or "deploy" in root.value):
        reader.problems.append(root.problem('there is no function: write [functions.hello] and its handler = "..."'))
    user = user_of(settings.machine, root.at("machine").at("user"), reader.problems)
    if only is None:
        check_listen(settings.http, root, reader.problems)
        check_static(settings.http, root, reader.problems)
        reader.problems += admin_problems(settings.admin, root)
    reading = Reading(
        file=file,
        root=root,
        reader=reader,
        settings=settings,
        user=user,
        state=place,
        data=data_path(place),
        only=only,
    )
    config = config_of(reading)
    return replace(config, warnings=tuple(sorted({*config.warnings, *_warnings_of_server(settings, root, reader)})))


def config_of(reading: Reading) -> Config:
    """Look up everything that the functions name, and check what they have in common. Raises ConfigError. Blocks."""
    file, root, reader, settings, only = reading.file, reading.root, reading.reader, reading.settings, reading.only
    finder = Finder(root, reader, reading.user, reading.state)
    names = [name for name in settings.functions if only in (None, name)]
    found = finder.runtimes(_wanted_runtimes(settings, None if only is None else names))
    functions = {str(name): _function(name, reading) for name in names}
    reader.problems += _problems_of_functions(functions.values(), reading.state, found)
    reader.problems += _problems_of_users(functions.values(), reading.user, reading.state, root)
    routes = routes_of({name: one.settings.http for name, one in functions.items()}, root, reader.problems)
    queues = _queues(functions, settings, root, reader.problems)
    timers = all_timers({name: one.settings.timer for name, one in functions.items()}, root, reader.problems)
    if only is None:
        check_queues(settings.queues, queues, settings.brokers, root, reader.problems)
        reader.problems += _machine_problems(functions, settings, root)
    else:
        reader.forgive(_needed_by(only, settings))
    if reader.problems:
        if set(reader.problems) <= set(finder.missing):
            raise NotInstalled(reader.problems, finder.absent)
        raise ConfigError(reader.problems)
    return Config(
        path=file.resolve(),
        origin=Path(os.path.abspath(file)),
        settings=settings,
        functions=functions,
        runtimes=found.runtimes,
        interpreters=found.interpreters,
        environments=found.environments,
        user=reading.user,
        state=reading.state,
        data=reading.data,
        uids=uids_path(reading.state),
        routes=routes,
        queues=queues,
        timers=timers,
        warnings=tuple(sorted(set(_warnings(functions, settings, timers, root)))),
    )


def _has_no_functions(root: Node) -> bool:
    misspelt = any(did_you_mean(key, ["functions"]) for key in root.value)
    return root.at("functions").value == {} or not ("functions" in root.value or misspelt)


def _needed_by(name: str, settings: Settings) -> tuple[str, ...]:
    """Return the keys of the tables that a call of this function depends on."""
    own = [f"runtimes.{one.runtime}" for function, one in settings.functions.items() if function == name]
    return (f"functions.{name}", "defaults", "machine", *own)


def _problems_of_functions(functions: Iterable[Function], state: Path, found: Runtimes) -> Iterator[Problem]:
    """Yield what is wrong between the keys of one function, and with its mounts."""
    for function in functions:
        yield from reuse_problems(function.settings, function.node)
        own = found.folders_of(function.settings.runtime)
        yield from mount_problems(function.settings.isolation, function.node, state, own)


def _problems_of_users(functions: Iterable[Function], user: User | None, state: Path, root: Node) -> Iterator[Problem]:
    """Yield why functions cannot have users of their own, if they are to."""
    if user:
        own = [one.name for one in functions if one.has_own_user]
        yield from uid_problems(user, own, uids_path(state), root.at("machine").at("uids"))


def _queues(
    functions: dict[str, Function], settings: Settings, root: Node, problems: list[Problem]
) -> tuple[QueueTrigger, ...]:
    return triggers_of(
        {name: function.settings.queue for name, function in functions.items()},
        {
            name: Consuming(one.pool.max_instances * one.pool.slots, one.settings.timeout_s)
            for name, one in functions.items()
        },
        {str(name): broker for name, broker in settings.brokers.items()},
        bus=settings.bus,
        root=root,
        problems=problems,
    )


def _machine_problems(functions: dict[str, Function], settings: Settings, root: Node) -> Iterator[Problem]:
    needs = {name: Needs(one.settings.limits, one.pool) for name, one in functions.items()}
    return machine_problems(settings.machine, needs, hardware.memory_bytes(), root)


def _wanted_runtimes(settings: Settings, names: list[Name] | None) -> dict[str, RuntimeSettings]:
    """Return every configured runtime, or those of these functions; our own interpreter only if a function uses it."""
    used = {one.runtime for name, one in settings.functions.items() if names is None or name in names}
    wanted = {str(name): one for name, one in settings.runtimes.items() if names is None or name in used}
    if DEFAULT_RUNTIME in used:
        wanted.setdefault(DEFAULT_RUNTIME, RuntimeSettings())
    return wanted


def _function(name: Name, reading: Reading) -> Function:
    root, reader, settings = reading.root, reading.reader, reading.settings
    node = root.at("functions").at(name)
    function = settings.functions[name]
    if function.runtime != DEFAULT_RUNTIME and function.runtime not in settings.runtimes:
        hint = likely_runtime(function.runtime) or did_you_mean(function.runtime, settings.runtimes)
        message = f"there is no [runtimes.{function.runtime}]{hint}; leave it out for the runtime of Forklight itself"
        reader.problems.append(node.at("runtime").problem(message))
    elif not _is_wrong(function.runtime, reader.problems):  # of a runtime that is, nobody knows what fits it
        runtime = settings.runtimes.get(Name(function.runtime), RuntimeSettings())
        reader.problems += function_problems(function, runtime, node)
    source = _source(function.code, node.at("code"), reader)
    env, secrets = read_environment(function, node, reader.environ, reader.problems)
    if function.data:
        env |= data_variable(reading.data, env.keys(), secrets.keys(), node, reader.problems)
    code = _code(function.code, node, reader) if source is None else PackageStore(reading.state).path(source.sha256)
    command = settings.runtimes.get(Name(function.runtime), RuntimeSettings()).command
    if missing := missing_in(code, command or ()):
        reader.problems.append(node.at("runtime").problem(missing))
    return Function(
        name=str(name),
        settings=function,
        code=code,
        source=source,
        env=env,
        secrets=secrets,
        pool=_pool(function, node),
        probe=probe_of(name, function, node.at("probe"), reader.problems),
        node=node,
    )


def _is_wrong(runtime: str, problems: list[Problem]) -> bool:
    return any(one.key.startswith(f"runtimes.{runtime}.") for one in problems)


def _code(settings: CodeSettings, node: Node, reader: Reader) -> Path:
    """Return the absolute path of code on this machine."""
    code, is_single_file = settings.path or reader.base, node.file.endswith(".py")
    if not (is_single_file or os.path.isdir(code) or is_archive(code)):  # unlike Path.is_dir, False without permission
        reader.problems.append(node.at("code").problem(_no_code(code)))
    return code.resolve()


def _source(settings: CodeSettings, node: Node, reader: Reader) -> Source | None:
    if settings.url is None or settings.sha256 is None:
        return None
    headers = read_headers(settings, node, reader.environ, reader.problems)
    return Source(url=settings.url, sha256=settings.sha256, headers=headers, pull=settings.pull)


def _no_code(code: Path) -> str:
    if os.path.isfile(code):
        return f"{code} is neither a directory nor a {SUFFIX}: name its directory"
    kind = "file" if code.suffix == SUFFIX else "directory"
    hint = near_file(code) or "; leave it out if the modules are beside this file" * (kind == "directory")
    return f"there is no {kind} {code}{hint}"


def _pool(function: FunctionSettings, node: Node) -> PoolSettings:
    """Return the pool's settings, with the defaults that depend on other keys."""
    pool = function.pool
    if "max_wait" not in node.value:
        pool = replace(pool, max_wait_s=max(pool.max_wait_s, function.timeout_s))
    if function.code.pull == "first" and "rest" not in node.value:
        pool = replace(pool, rest="none")  # else it would be pulled at once, to load the template
    return pool


def _warnings(
    functions: dict[str, Function], settings: Settings, timers: tuple[Timer, ...], root: Node
) -> list[Problem]:
    runtimes = {str(name): one.kind for name, one in settings.runtimes.items()}
    forked = [one for one in functions.values() if runtimes.get(one.settings.runtime, "python") == "python"]
    found = [warning for function in forked for warning in exec_only_warnings(function.node, function.env)]
    found += [warning for function in functions.values() for warning in zone_warnings(function.node, function.env)]
    for name, runtime in settings.runtimes.items():
        env = root.at("runtimes").at(name).at("env")
        ignored = [one for one in runtime.env if one.startswith("PYTHON") and runtime.kind == "python"]
        found += [env.at(variable).problem("has no effect: interpreters are started with -I") for variable in ignored]
    shared = bool(settings.brokers) or not settings.bus.url.is_embedded
    found += timer_warnings(timers, root, datetime.now(UTC), shared=shared)
    return found


def _warnings_of_server(settings: Settings, root: Node, reader: Reader) -> list[Problem]:
    bus = reader.environ.get("FORKLIGHT_BUS_URL") or settings.bus.url
    found = embedded_warnings(settings.queues, settings.brokers, bus, root)
    return [*found, *user_warnings(settings.machine.user, settings.machine.uids, root.at("machine"))]
