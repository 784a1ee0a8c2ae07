"""Versions of functions, with their code as a read-only snapshot. Everything here blocks."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from hashlib import sha256
from hmac import digest
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

import sandbox
from forklight.code.files import Contents
from forklight.code.interpreter import Interpreter
from forklight.code.selection import CodeError
from forklight.code.snapshots import compile_more, staged
from forklight.config.configuration import Config, Function
from forklight.config.problem import ConfigError, Problem
from forklight.serving.isolation import containments
from forklight.serving.pulling import Coming, pulled, restrict, store_of
from forklight.serving.renewal import Readings, Served
from forklight.serving.sealing import sealed
from forklight.state.data import DataError, make_data_folder
from forklight.state.directory import State, remove_tree
from forklight.state.uids import UidsError, keep_uids
from sandbox.containment import Containment
from sandbox.spec import FunctionSpec, Hooks, Runtime

NONE_SERVED: Mapping[str, Served] = MappingProxyType({})


class Version(Struct, frozen=True, kw_only=True):
    """A version of a function. `contents` are those of its snapshot."""

    spec: FunctionSpec
    contents: Contents
    why: str = ""
    """Why it is not the version that was served; empty if nothing was, or if it is, or if it sees no change."""
    may_wait: bool = False
    """Whether it need not be loaded before it is served: nothing that it sees has changed, and it has no process."""


class Versions(Struct, frozen=True, kw_only=True):
    """What was read at one time: a version of each function, and what was in each place of code."""

    functions: dict[str, Version]
    code: dict[Path, Contents]
    settings: dict[Path, str | None]
    """As `hashes_of` the files of the configuration, of variables and of secrets."""

    @property
    def specs(self) -> dict[str, FunctionSpec]:
        return {name: version.spec for name, version in self.functions.items()}


def make_versions(
    config: Config,
    state: State,
    served: Mapping[str, Served] = NONE_SERVED,
    readings: Readings | None = None,
    *,
    beside: Iterable[FunctionSpec] = (),
    seals: bool = True,
) -> Versions:
    """Return the current version of each function by name, and take the missing snapshots.

    Functions with the same code and runtime are copied and compiled together; what is the same in the snapshot of one
    that is `served`, by the same interpreter, is not compiled again. With `readings`, a function that sees no change
    keeps its served version. `beside` are further versions that may have the same snapshots. `seals`: programs run from
    copies that cannot be read (`sealing.py`). Makes the data folder,
    too, if a function asks for it. Raises ConfigError, also for what a function asks of its isolation and the machine
    does not have.
    """
    if seals:
        config = replace(config, runtimes=sealed(config, state.path))
    problems = _data_problems(config)  # first: the folder is a mount, which has to be there
    making = _Making(config, state, _with_users(config, containments(config)), served, readings)
    together: dict[tuple[Path, str], list[Function]] = defaultdict(list)
    for function in config.functions.values():
        together[function.code, function.settings.runtime].append(function)
    made = Versions(functions={}, code={}, settings=hashes_of(config.no_code))
    for functions in together.values():
        try:
            _snapshot(made, functions, making)
        except CodeError as error:
            problems.append(functions[0].node.at("code").problem(str(error)))
    if problems:
        raise ConfigError(problems)
    restrict_all([*made.specs.values(), *(one.spec for one in served.values()), *beside])
    return made


def _with_users(config: Config, contained: dict[str, Containment]) -> dict[str, Containment]:
    """Add each function's own user, which those that are new get now."""
    if config.user is None or config.user.uids is None:
        return contained
    try:
        own = [name for name, function in config.functions.items() if function.has_own_user]
        uids = keep_uids(config.uids, own, config.user.uids)
    except UidsError as error:
        raise ConfigError([Problem(str(config.path), 0, "machine.uids", str(error))]) from error
    return {name: replace(one, uid=uids.get(name)) for name, one in contained.items()}


def restrict_all(specs: Iterable[FunctionSpec]) -> None:
    """Let a snapshot that functions with one user of their own have be read by that user alone, else by all."""
    users: dict[Path, set[int | None]] = defaultdict(set)
    for spec in specs:
        users[spec.code].add(spec.containment.uid)
    for code, uids in users.items():
        if code.exists():
            restrict(code, next(iter(uids)) if len(uids) == 1 else None)


def _data_problems(config: Config) -> list[Problem]:
    """Make the data folder if a function asks for it. Return the problem that the first of them has with it."""
    asking = [function for function in config.functions.values() if function.settings.data]
    if asking:
        try:
            make_data_folder(config.data, config.user)
        except DataError as error:
            return [asking[0].node.at("data").problem(str(error))]
    return []


def hashes_of(files: Set[Path]) -> dict[Path, str | None]:
    """Return a hash of the content of each file, None for those that cannot be read, or only once, such as pipes."""
    return {path.absolute(): _hash_of(path) for path in files}


def _hash_of(path: Path) -> str | None:
    try:
        return sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    except OSError:
        return None


def make_guest(config: Config, state: State) -> Path:
    """Return the folder of the guest's snapshot, byte-compiled for every runtime of `config`."""
    source = Path(sandbox.__file__).parent / "guest"
    by_tag = {interpreter.cache_tag: interpreter for interpreter in config.interpreters.values()}
    with staged(source, frozenset(), state.guest) as stage:
        final = state.guest / sha256("\n".join([stage.digest, *sorted(by_tag)]).encode()).hexdigest()[:12]
        if not final.exists():
            for interpreter in by_tag.values():
                stage.compile(interpreter, config.user)
            stage.publish(final)
    return final


def new_pythons(before: Config, after: Config) -> dict[str, Interpreter]:
    """Return the runtimes of `after` for whose Python the guest may not be compiled. Pure."""
    known = {interpreter.cache_tag for interpreter in before.interpreters.values()}
    return {name: one for name, one in after.interpreters.items() if one.cache_tag not in known}


def complete_guest(guest: Path, config: Config, runtimes: Mapping[str, Interpreter]) -> None:
    """Byte-compile the guest's snapshot, which is in use, for these runtimes of `config` too.

    Raises ConfigError, and OSError if the disk takes nothing.
    """
    for name, interpreter in runtimes.items():
        try:
            compile_more(guest, interpreter, config.user)
        except CodeError as error:
            raise ConfigError([Problem(str(config.path), 0, f"runtimes.{name}", str(error))]) from None


def remove_unused(state: State, keep: set[str]) -> None:
    """Remove all snapshots, also incomplete ones, except those of code and guests named in `keep`."""
    for snapshot in (*state.versions.iterdir(), *state.guest.iterdir()):
        if snapshot.name not in keep:
            remove_tree(snapshot)


def snapshot_name(code_digest: str, runtime: Runtime, interpreter: Interpreter) -> str:
    """Return the name of a snapshot: 12 hexadecimal digits of a hash of everything in it. Pure.

    A thousand functions in one folder have one snapshot, whatever their configuration.
    """
    made_for = interpreter.cache_tag if runtime.kind == "python" else f"{runtime.kind} {runtime.release}"
    return sha256(f"{code_digest}\n{made_for}".encode()).hexdigest()[:12]


def version_of(function: Function, runtime: Runtime, interpreter: Interpreter, code_digest: str, key: bytes) -> str:
    """Return the version: 12 hexadecimal digits of a hash of everything that the template sees. Pure.

    Variables and secrets are hashed with `key`, so that a version does not allow guessing them.
    """
    hidden = msgspec.json.encode([function.env, function.secrets], order="deterministic")
    settings = function.settings
    seen = [code_digest, settings.handler, settings.hooks, runtime, interpreter, digest(key, hidden, "sha256").hex()]
    return sha256(msgspec.json.encode(seen, order="deterministic", enc_hook=str)).hexdigest()[:12]


class _Making(NamedTuple):
    """What versions are made of, and what was served before."""

    config: Config
    state: State
    contained: Mapping[str, Containment]
    served: Mapping[str, Served]
    readings: Readings | None

    def newest(self, functions: list[Function]) -> Path | None:
        """Return the latest snapshot of these functions: what they kept may be much older."""
        found = {self.served[function.name].spec.code for function in functions if function.name in self.served}
        return max(filter(Path.exists, found), key=lambda path: path.stat().st_mtime_ns, default=None)

    def why_renew(self, spec: FunctionSpec, contents: Contents) -> str | None:
        """Return why the function is renewed, or None if it keeps its version."""
        was = self.served.get(spec.name)
        if was is None or was.spec == spec or self.readings is None:
            return ""
        return self.readings.why_renew(was, spec, contents) or None


def _snapshot(made: Versions, functions: list[Function], making: _Making) -> None:
    """Add the versions of functions that share code and runtime, and so a snapshot."""
    first, config, state = functions[0], making.config, making.state
    ahead = next((one for one in functions if one.source is None or one.source.pull == "ahead"), None)
    if ahead is None:
        _promise(made, functions, making)
        return
    pulled(ahead, config)
    runtime, interpreter = config.runtimes[first.settings.runtime], config.interpreters[first.settings.runtime]
    apart = config.apart | {state.path}
    with staged(first.code, apart, state.versions, making.newest(functions)) as stage:
        made.code[first.code] = stage.contents
        code, key = state.versions / snapshot_name(stage.digest, runtime, interpreter), state.key
        for function in functions:
            version = version_of(function, runtime, interpreter, stage.digest, key)
            spec = _spec(function, version, code, runtime, making.contained[function.name])
            if _add(made, spec, stage.contents, making) and not code.exists():
                if runtime.kind == "python":
                    stage.compile(interpreter, config.user)
                stage.publish(code)


def _promise(made: Versions, functions: list[Function], making: _Making) -> None:
    """Add the versions of functions whose code may not be here. Their names come from its hash, not from what it holds.

    One that is new to the server is not loaded before it is needed; one that takes the place of another is, so that
    the other stays if this cannot be had.
    """
    first, config, state = functions[0], making.config, making.state
    source = first.source
    assert source is not None
    runtime, interpreter = config.runtimes[first.settings.runtime], config.interpreters[first.settings.runtime]
    digest = f"package {source.sha256}"
    code, contents = state.versions / snapshot_name(digest, runtime, interpreter), {source.file_name: source.sha256}
    made.code[first.code] = contents
    uids = {making.contained[function.name].uid for function in functions}

    def take(package: Path, final: Path) -> None:
        with staged(package, config.apart | {state.path}, state.versions) as stage:
            if runtime.kind == "python":
                stage.compile(interpreter, config.user)
            stage.publish(final)
        restrict(final, next(iter(uids)) if len(uids) == 1 else None)

    fetch = Coming(source, store_of(config), code, take)
    for function in functions:
        version = version_of(function, runtime, interpreter, digest, state.key)
        spec = _spec(function, version, code, runtime, making.contained[function.name])
        _add(made, replace(spec, fetch=fetch), contents, making)
        if function.name not in making.served and not code.exists():
            made.functions[function.name] = replace(made.functions[function.name], may_wait=True)


def _add(made: Versions, spec: FunctionSpec, contents: Contents, making: _Making) -> bool:
    """Add the version of a function; return whether it is not the one that is served."""
    why, was = making.why_renew(spec, contents), making.served.get(spec.name)
    if why is None and was is not None and not was.at_rest:
        made.functions[spec.name] = Version(spec=was.spec, contents=was.contents)
        return False
    made.functions[spec.name] = Version(spec=spec, contents=contents, why=why or "", may_wait=why is None)
    return True


def _spec(function: Function, version: str, code: Path, runtime: Runtime, contained: Containment) -> FunctionSpec:
    settings = function.settings
    hooks = msgspec.structs.asdict(settings.hooks)
    return FunctionSpec(
        name=function.name,
        version=version,
        code=code,
        handler=str(settings.handler),
        runtime=runtime,
        env=function.env,
        secrets=function.secrets,
        hooks=Hooks(**{name: hook and str(hook) for name, hook in hooks.items()}),
        limits=settings.limits,
        containment=contained,
        log_level=settings.log_level,
        concurrency=settings.pool.concurrency,
        timeout_s=settings.timeout_s,
        grace_s=settings.grace_s,
        init_timeout_s=settings.init_timeout_s,
        rehearsal=settings.rehearsal if runtime.abilities.imports_ahead else "none",
    )
