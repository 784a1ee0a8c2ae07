"""The environment variables of a handler under test: those that its function has in a server.

Theory of operation. The nearest `forklight.toml` at or above the handler's code (else the working directory) may have a
function with this handler. Then the handler sees `env`, `env_file` and `secrets` of that function and what every
instance has, but nothing that the test run inherited from its shell: no test should pass because of a variable that is
missing in production. What a test sets itself, in `os.environ` or for this run, counts above all. A handler of no
function sees the environment of the test.

The environment belongs to the process, so runs at the same time see that of the one that began last.
"""

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from forklight.config.document import FILE_NAME, Node, read_document
from forklight.config.environment import DATA, read_environment
from forklight.config.functions import FunctionSettings, RuntimeSettings
from forklight.config.problem import ConfigError, Problem
from forklight.config.reader import Reader
from forklight.config.source import completed
from forklight.testing.data import is_offered
from sandbox.launch import ONE_THREAD, search_path
from sandbox.spec import Runtime

_KEYS = ("handler", "runtime", "env", "env_file", "secrets", "data", "concurrency")
"""The keys that are read. A mistake in another one does not concern the handler alone: `forklight check` finds it."""


class _Configured(NamedTuple):
    """What a function's table says, as far as it concerns a run of its handler, and what is wrong with that."""

    env: dict[str, str]
    problems: list[Problem]
    concurrency: int = 1


@contextlib.contextmanager
def environment(handler: object, function: str | None, added: Mapping[str, str], version: str) -> Iterator[int]:
    """Give the process the handler's environment for the block, which gets the function's `concurrency`.

    Raises ConfigError, ValueError.
    """
    path, name = _configuration_of(handler), _name_of(handler)
    own, concurrency = _process.own(), 1
    if path is not None and (configured := _configured(path, name, function, own, added)) is not None:
        concurrency = configured.concurrency
        whole = _basis() | {"FORKLIGHT_VERSION": version} | configured.env | _set_by_test(own) | dict(added)
    elif added:
        whole = own | dict(added)
    else:
        yield 1
        return
    with _process.having(whole):
        yield concurrency


def _name_of(handler: object) -> str:
    """Return the handler as a configuration names it, `module:attribute`."""
    if isinstance(handler, str):
        return handler
    return f"{getattr(handler, '__module__', '')}:{getattr(handler, '__qualname__', '')}"


def _configuration_of(handler: object) -> Path | None:
    """Return the configuration of the application that the handler belongs to. Imports nothing."""
    folder = _folder_of(_name_of(handler).partition(":")[0].partition(".")[0])
    for place in (*_upwards(folder), *_upwards(Path.cwd())):
        if (place / FILE_NAME).is_file():
            return place / FILE_NAME
    return None


def _upwards(folder: Path | None) -> tuple[Path, ...]:
    return () if folder is None else (folder, *folder.parents)


def _folder_of(module: str) -> Path | None:
    """Return the folder of a module, whose name has no dots."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if module and module not in sys.modules:
        with contextlib.suppress(ImportError, ValueError):
            spec = find_spec(module)
            file = next(iter(spec.submodule_search_locations or ()), spec.origin) if spec else None
    return Path(os.path.abspath(file)).parent if isinstance(file, str) else None


def _configured(
    path: Path, handler: str, function: str | None, environ: Mapping[str, str], added: Mapping[str, str]
) -> _Configured | None:
    """Return what the function with this handler has; None if there is none. Raises ConfigError, ValueError."""
    root = completed(read_document(path), Reader(path.parent, environ))
    functions = root.value["functions"].value if "functions" in root.value else None
    nodes = functions if isinstance(functions, dict) else {}
    found = {
        name: _table(root, node, environ, added) for name, node in nodes.items() if node.at("handler").value == handler
    }
    if not found:
        return None
    name = next((each for each in found if each == function), next(iter(found)))
    if function not in found and any(other[:2] != found[name][:2] for other in found.values()):
        names = " and ".join(found)
        raise ValueError(f"{path}: {names} run {handler} with different variables: choose one with function={name!r}")
    one = found[name]
    if one.problems:
        raise ConfigError(one.problems)
    return one._replace(env=one.env | {"FORKLIGHT_FUNCTION": name})


def _table(root: Node, node: Node, environ: Mapping[str, str], added: Mapping[str, str]) -> _Configured:
    reader = Reader(Path(root.file).parent, environ)
    table = {key: value for key, value in node.value.items() if key in _KEYS}
    secrets = table.get("secrets")
    if secrets is not None and isinstance(secrets.value, dict):  # the test has a value of its own instead
        wanted = {name: value for name, value in secrets.value.items() if name not in added}
        table["secrets"] = Node(wanted, secrets.file, secrets.key, secrets.line)
    node = Node(table, node.file, node.key, node.line)
    settings = reader.struct(node, FunctionSettings)
    if settings is None:
        return _Configured({}, reader.problems)
    if settings.env_file and added and not settings.env_file.exists():
        settings = replace(settings, env_file=None)  # often not in the repository: the test gives what it needs of it
    env, values = read_environment(settings, node, environ, reader.problems)
    if settings.data and DATA in environ:
        env |= {DATA: environ[DATA]}
    variables = _runtime_variables(root, settings.runtime, reader) | env | values
    return _Configured(variables, _with_advice(reader.problems), settings.pool.concurrency)


def _with_advice(problems: list[Problem]) -> list[Problem]:
    return [
        Problem(one.file, one.line, one.key, f"{one.message} (a test can pass what it needs: env={{...}})")
        for one in problems
    ]


def _runtime_variables(root: Node, name: str, reader: Reader) -> dict[str, str]:
    runtimes = root.value["runtimes"].value if "runtimes" in root.value else None
    node = runtimes.get(name) if isinstance(runtimes, dict) else None
    settings = reader.struct(node, RuntimeSettings) if node is not None else None
    return settings.env if settings is not None else {}


def _basis() -> dict[str, str]:
    """Return the variables of every instance. All runs of a process share the private folder."""
    runtime = Runtime(name="tests", python=Path(sys.executable))
    return {"PATH": search_path(runtime), "LANG": "C.UTF-8", **ONE_THREAD, "HOME": _private(), "TMPDIR": _private()}


@cache
def _private() -> str:
    folder = tempfile.mkdtemp(prefix="forklight-run-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _set_by_test(own: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that were set since the process began: what it inherited stands in /proc."""
    found = {name: value for name, value in own.items() if _inherited().get(name) != value}
    return {name: value for name, value in found.items() if not (name == DATA and is_offered(value))}


@cache
def _inherited() -> dict[str, str]:
    """Return the environment that the process began with; nothing if its title has overwritten that."""
    try:
        written = Path("/proc/self/environ").read_bytes()
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in written.split(b"\0"))
    return {name: value for name, equals, value in pairs if equals}


class _Process:
    """The environment of this process, which several runs may want at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: list[dict[str, str]] = []
        self._own: dict[str, str] = {}

    def own(self) -> dict[str, str]:
        """Return what it is without any run."""
        with self._lock:
            return dict(self._own if self._wanted else os.environ)

    @contextlib.contextmanager
    def having(self, variables: dict[str, str]) -> Iterator[None]:
        """Set exactly these for the block. The run that began last has its way; the last to end restores our own."""
        with self._lock:
            if not self._wanted:
                self._own = dict(os.environ)
            self._wanted.append(variables)
            _set(variables)
        try:
            yield
        finally:
            with self._lock:
                self._wanted = [other for other in self._wanted if other is not variables]
                _set(self._wanted[-1] if self._wanted else self._own)


def _set(variables: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name not in variables]:
        del os.environ[name]
    os.environ.update(variables)
    time.tzset()


_process = _Process()
