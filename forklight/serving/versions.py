"""Versions of functions, with their code as a read-only snapshot. Everything here blocks."""

from collections import defaultdict
from collections.abc import Mapping
from hashlib import sha256
from hmac import digest
from pathlib import Path
from types import MappingProxyType

import msgspec

import sandbox
from forklight.code.interpreter import Interpreter
from forklight.code.selection import CodeError
from forklight.code.snapshots import staged
from forklight.config.configuration import Config, Function
from forklight.config.problem import ConfigError, Problem
from forklight.state.data import DataError, make_data_folder
from forklight.state.directory import State, remove_tree
from sandbox.spec import FunctionSpec, Hooks, Runtime


def make_versions(
    config: Config, state: State, earlier: Mapping[str, Path] = MappingProxyType({})
) -> dict[str, FunctionSpec]:
    """Return the current version of each function by name, and take the missing snapshots.

    Functions with the same code and runtime are copied and compiled together. `earlier` are snapshots of earlier
    versions for the same interpreters: only what differs from them is compiled. Makes the data folder, too, if one of
    them asks for it. Raises ConfigError.
    """
    together: dict[tuple[Path, str], list[Function]] = defaultdict(list)
    for function in config.functions.values():
        together[function.code, function.settings.runtime].append(function)
    specs: dict[str, FunctionSpec] = {}
    problems = _data_problems(config)
    for functions in together.values():
        try:
            specs |= _snapshot(functions, config, state, earlier.get(functions[0].name))
        except CodeError as error:
            problems.append(functions[0].node.at("code").problem(str(error)))
    if problems:
        raise ConfigError(problems)
    return specs


def _data_problems(config: Config) -> list[Problem]:
    """Make the data folder if a function asks for it. Return the problem that the first of them has with it."""
    asking = [function for function in config.functions.values() if function.settings.data]
    if asking:
        try:
            make_data_folder(config.data, config.user)
        except DataError as error:
            return [asking[0].node.at("data").problem(str(error))]
    return []


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


def remove_unused(state: State, keep: set[str]) -> None:
    """Remove all snapshots, also incomplete ones, except the versions and guests named in `keep`."""
    for snapshot in (*state.versions.iterdir(), *state.guest.iterdir()):
        if snapshot.name not in keep:
            remove_tree(snapshot)


def version_of(function: Function, runtime: Runtime, interpreter: Interpreter, code_digest: str, key: bytes) -> str:
    """Return the version: 12 hexadecimal digits of a hash of everything that the template sees. Pure.

    Variables and secrets are hashed with `key`, so that a version does not allow guessing them.
    """
    hidden = msgspec.json.encode([function.env, function.secrets], order="deterministic")
    settings = function.settings
    seen = [code_digest, settings.handler, settings.hooks, runtime, interpreter, digest(key, hidden, "sha256").hex()]
    return sha256(msgspec.json.encode(seen, order="deterministic", enc_hook=str)).hexdigest()[:12]


def _snapshot(functions: list[Function], config: Config, state: State, earlier: Path | None) -> dict[str, FunctionSpec]:
    """Return the specs of functions that share code and runtime."""
    runtime_name = functions[0].settings.runtime
    runtime, interpreter = config.runtimes[runtime_name], config.interpreters[runtime_name]
    specs: dict[str, FunctionSpec] = {}
    with staged(functions[0].code, config.no_code | {state.path}, state.versions, earlier) as stage:
        is_compiled = False
        for function in functions:
            version = version_of(function, runtime, interpreter, stage.digest, state.key)
            code = state.versions / version
            if not code.exists():
                if not is_compiled:
                    stage.compile(interpreter, config.user)
                    is_compiled = True
                stage.publish(code)
            specs[function.name] = _spec(function, version, code, runtime)
    return specs


def _spec(function: Function, version: str, code: Path, runtime: Runtime) -> FunctionSpec:
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
        log_level=settings.log_level,
        timeout_s=settings.timeout_s,
        grace_s=settings.grace_s,
        init_timeout_s=settings.init_timeout_s,
    )
