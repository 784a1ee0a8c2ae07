"""The house keeps its layers: who may import whom, never in a circle, and how long a file and a function may be.

ARCHITECTURE.md §2 states the import rules. Tests, benchmarks and examples import what they like, but stay short too.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

PACKAGES = {"bus", "triggers", "dispatcher", "sandbox", "forklight"}
OURS = PACKAGES | {"tests", "benchmarks", "examples"}
MAY_IMPORT: dict[str, set[str]] = {
    "bus": set(),
    "triggers": {"bus"},
    "triggers.http": {"bus"},
    "triggers.queue": {"bus"},
    "triggers.timer": {"bus"},
    "sandbox": {"bus", "sandbox.guest"},
    "sandbox.guest": set(),
    "dispatcher": {"bus", "sandbox"},
    "forklight": {"bus", "triggers", "dispatcher", "sandbox"},
}
"""What each layer imports of ours besides itself. A layer within another stands alone, as in `triggers.http`."""

FORKLIGHT_ROOMS = (
    *("plain", "errors", "state", "code", "packages", "config", "observe", "serving", "checking", "deploying", "admin"),
    *("app", "commands", "cli", "__main__"),
)
"""Each imports only from itself and from those before it. `testing` and `types` may be imported by none of them."""
ABOVE_TESTING = {"forklight.app", "forklight.commands", "forklight.cli"}
HTTP_ROOMS = {"triggers.http.socket", "triggers.http.files", "triggers.http.policy"}
ABOVE_HTTP_ROOMS = {"triggers.http.server", "triggers.http.codec", "triggers.http.exchange"}
"""The rooms import neither these, which know events and outcomes, nor one another."""

ONLY_IN: dict[str, set[str]] = {
    "aiohttp": {"triggers.http", "forklight.admin"},
    "aio_pika": {"bus.rabbitmq"},
    "aiormq": {"bus.rabbitmq"},
    "pamqp": {"bus.rabbitmq"},
    "cronsim": {"triggers.timer"},
    "watchfiles": {"forklight.serving.watching"},
    "uvloop": {"forklight.cli"},
    "prometheus_client": {"forklight.observe.metrics"},
}

GUEST = "sandbox.guest"
GUEST_LIBRARY = sys.stdlib_module_names - {"tomllib"}
"""The guest runs on Python 3.10 too, which has no tomllib."""
SHARED_CONSTANTS = {"sandbox.guest._forklight.wire"}
TESTING = "forklight.testing"
SHARED_WITH_TESTING = {
    f"{GUEST}._forklight.{module}"
    for module in ("decoding", "encoding", "events", "handler", "invocation", "signature", "wire")
}
"""What makes an event, runs a handler and encodes its reply: in a test of an application as in an instance."""
CHECK = "forklight.code.handlers"
SHARED_WITH_CHECK = {f"{GUEST}._forklight.signature"}
"""How a handler is called: `forklight check` judges by the rules of the guest."""


class Import(NamedTuple):
    """`from a import b` imports `a.b`, be b a module or not; a relative import has its absolute name here."""

    line: int
    name: str
    relative: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


def inside(name: str, package: str) -> bool:
    """Whether the dotted name is the package or something in it."""
    return name == package or name.startswith(package + ".")


def inside_any(name: str, packages: set[str]) -> bool:
    return any(inside(name, package) for package in packages)


def module_of(path: PurePosixPath) -> str:
    """`bus/__init__.py` is `bus`, `bus/event.py` is `bus.event`."""
    return ".".join(path.parent.parts if path.name == "__init__.py" else path.with_suffix("").parts)


def layer_of(name: str) -> str | None:
    """The innermost layer that the dotted name lies in; None for third parties, tests, benchmarks and examples."""
    return max((layer for layer in MAY_IMPORT if inside(name, layer)), key=len, default=None)


def imports(path: PurePosixPath, source: str) -> Iterator[Import]:
    """All imports of a file, at its top or anywhere in it."""
    package = path.parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, relative=False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join((*base, node.module) if node.module else base)
            yield from (Import(node.lineno, f"{origin}.{alias.name}", node.level > 0) for alias in node.names)


def why_not(module: str, imported: Import) -> str | None:
    """Why the module may not import this; None if it may."""
    layer = layer_of(module)
    target = layer_of(imported.name)
    places = ONLY_IN.get(imported.top)
    if layer is None:
        return None
    if places and not inside_any(module, places):
        return f"{imported.top} is only for {' and '.join(sorted(places))}"
    if layer == GUEST:
        return why_not_in_guest(module, imported)
    if imported.top in OURS and target != layer and not inside_any(imported.name, MAY_IMPORT[layer]):
        return f"of ours, {layer} imports only {', '.join(sorted(MAY_IMPORT[layer] | {layer}))}"
    if target == GUEST:
        return why_not_of_guest(module, imported)
    return why_not_from_room(module, imported)


def why_not_from_room(module: str, imported: Import) -> str | None:
    """Between rooms of one package, arrows run one way."""
    for room in HTTP_ROOMS:
        if inside(module, room) and inside_any(imported.name, ABOVE_HTTP_ROOMS | HTTP_ROOMS - {room}):
            return f"{room} knows requests and answers only"
    if inside(module, TESTING):
        return "tests of applications need no server" if inside_any(imported.name, ABOVE_TESTING) else None
    here, there = forklight_room(module), forklight_room(imported.name)
    if here is not None and there is not None and there > here:
        return f"of forklight, {FORKLIGHT_ROOMS[here]} imports only {', '.join(FORKLIGHT_ROOMS[: here + 1])}"
    return None


def forklight_room(name: str) -> int | None:
    """Its place in FORKLIGHT_ROOMS, the highest for what is none of them; None outside of the package."""
    package, _, rest = name.partition(".")
    if package != "forklight" or not rest:
        return None
    room = rest.partition(".")[0]
    return FORKLIGHT_ROOMS.index(room) if room in FORKLIGHT_ROOMS else len(FORKLIGHT_ROOMS)


def why_not_in_guest(module: str, imported: Import) -> str | None:
    """The guest runs where nothing of ours can be imported, and its own package has another name there than here."""
    if imported.top in GUEST_LIBRARY:
        return None
    if module == f"{GUEST}.__main__" and imported.top == "_forklight":
        return None
    if imported.relative and inside(imported.name, f"{GUEST}._forklight"):
        return None
    return "the guest imports the standard library of Python 3.10 and, relatively, itself"


def why_not_of_guest(module: str, imported: Import) -> str | None:
    """Of the guest, parents share the constants of the wire, so that both sides mean the same frames."""
    origin, _, name = imported.name.rpartition(".")
    if origin in SHARED_CONSTANTS and name.isupper():
        return None
    if inside(module, TESTING) and inside_any(imported.name, SHARED_WITH_TESTING):
        return None
    if module == CHECK and inside_any(imported.name, SHARED_WITH_CHECK):
        return None
    return f"of the guest, parents import only constants from {' and '.join(sorted(SHARED_CONSTANTS))}"


def import_violations(path: PurePosixPath, source: str) -> list[str]:
    """One line per forbidden import of a file, whose path is relative to the root."""
    reasons = ((imported, why_not(module_of(path), imported)) for imported in imports(path, source))
    return [f"{path}:{found.line}: may not import {found.name}: {reason}" for found, reason in reasons if reason]


def circle(sources: Mapping[PurePosixPath, str]) -> list[str]:
    """Modules each of which imports the one before it, the first and last being the same; empty if there are none."""
    paths = {module_of(path): path for path in sources}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        names = (found.name for found in imports(path, sources[path]))
        targets = {name if name in paths else name.rpartition(".")[0] for name in names}
        graph[module] = (targets & paths.keys()) - {module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def length_violations(path: PurePosixPath, source: str) -> list[str]:
    """One line for a file that is too long, and one for each such function (from `def` to its last line)."""
    lines = len(source.splitlines())
    violations = (
        [f"{path}: {lines} lines, at most {MAX_FILE_LINES}: split it by idea"] if lines > MAX_FILE_LINES else []
    )
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                violations.append(f"{path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
    return violations


def python_files() -> list[PurePosixPath]:
    """Every Python file of ours, relative to the root; without the sample functions, some broken on purpose."""
    relative = (PurePosixPath(path.relative_to(ROOT)) for path in ROOT.glob("[!.]*/**/*.py"))
    samples = {("tests", "functions"), ("tests", "corpus")}
    return sorted(path for path in relative if path.parts[:2] not in samples)


@pytest.mark.invariant("I36")
def test_imports_in_this_tree() -> None:
    files = python_files()
    assert PurePosixPath("bus/event.py") in files
    violations = [line for path in files for line in import_violations(path, (ROOT / path).read_text())]
    assert not violations, "\n".join(violations)


@pytest.mark.invariant("I36")
def test_no_circle_in_this_tree() -> None:
    files = (path for path in python_files() if path.parts[0] in PACKAGES)
    sources = {path: (ROOT / path).read_text() for path in files}
    assert PurePosixPath("bus/event.py") in sources
    assert circle(sources) == []


def test_lengths_in_this_tree() -> None:
    violations = [line for path in python_files() for line in length_violations(path, (ROOT / path).read_text())]
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("bus/bus.py", "import dispatcher"),
        ("bus/bus.py", "from sandbox.guest._forklight.wire import LENGTHS"),
        ("triggers/__init__.py", "from triggers.http import server"),
        ("bus/bus.py", "from sandbox import spec"),
        ("bus/bus.py", "from tests import conftest"),
        ("bus/bus.py", "def late():\n    import forklight.app"),
        ("bus/bus.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import triggers.http"),
        ("triggers/http/server.py", "from dispatcher.actions import Pool"),
        ("triggers/http/server.py", "from triggers import timer"),
        ("triggers/queue/consumer.py", "from ..http.codec import decode"),
        ("triggers/timer/runner.py", "import sandbox"),
        ("sandbox/instance.py", "from dispatcher import pool"),
        ("dispatcher/pool.py", "import triggers"),
        ("dispatcher/pool.py", "import forklight.metrics"),
        ("forklight/app.py", "from benchmarks import load"),
        ("dispatcher/pool.py", "import aiohttp"),
        ("forklight/app.py", "from aiohttp import web"),
        ("triggers/queue/consumer.py", "import aio_pika"),
        ("bus/bus.py", "from aio_pika.abc import AbstractMessage"),
        ("forklight/app.py", "import uvloop"),
        ("forklight/app.py", "from prometheus_client import Counter"),
        ("sandbox/guest/_forklight/wire.py", "import msgspec"),
        ("sandbox/guest/_forklight/wire.py", "import tomllib"),
        ("sandbox/guest/_forklight/wire.py", "from bus.event import Event"),
        ("sandbox/guest/_forklight/wire.py", "from ... import spec"),
        ("sandbox/guest/_forklight/wire.py", "from sandbox.guest._forklight import control"),
        ("sandbox/guest/_forklight/wire.py", "import _forklight.control"),
        ("sandbox/guest/__main__.py", "from sandbox import spec"),
        ("sandbox/wire.py", "from sandbox.guest._forklight.wire import Frames"),
        ("sandbox/wire.py", "from sandbox.guest._forklight import control"),
        ("sandbox/wire.py", "from .guest._forklight.control import SIZE"),
        ("sandbox/wire.py", "from sandbox import guest"),
        ("dispatcher/pool.py", "import sandbox.guest"),
        ("forklight/app.py", "from sandbox.guest._forklight.context import Context"),
        ("forklight/app.py", "from sandbox.guest._forklight.events import make_event"),
        ("forklight/testing/running.py", "from sandbox.guest._forklight.instance import main"),
        ("forklight/testing/running.py", "from sandbox.guest import _forklight"),
        ("forklight/testing/application.py", "import aiohttp"),
        ("forklight/testing/application.py", "from forklight.commands import serve"),
        ("forklight/state/directory.py", "from forklight.code import files"),
        ("forklight/config/configuration.py", "from forklight.serving.versions import Version"),
        ("forklight/serving/reload.py", "from forklight import app"),
        ("forklight/app.py", "from forklight.commands.rows import rows"),
        ("forklight/commands/invoke.py", "from forklight import testing"),
        ("triggers/http/socket/connection.py", "from triggers.http.policy.keys import Keys"),
        ("triggers/http/files/static.py", "from triggers.http import server"),
        ("triggers/http/files/static.py", "from triggers.http.codec import to_answer"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    [violation] = import_violations(PurePosixPath(path), source)
    assert violation.startswith(f"{path}:{len(source.splitlines())}: ")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("bus/__init__.py", "from bus.event import Event"),
        ("bus/bus.py", "from .event import Event\nimport anyio, sqlite3, msgspec"),
        ("bus/rabbitmq.py", "import aio_pika"),
        ("triggers/http/server.py", "from aiohttp import web\nfrom bus import Event\nfrom triggers.http import codec"),
        ("dispatcher/pool.py", "from sandbox.spec import FunctionSpec\nimport bus"),
        ("forklight/app.py", "from triggers.http import server\nimport dispatcher, sandbox.spec, bus.bus"),
        ("forklight/cli.py", "import click, uvloop"),
        ("forklight/admin/server.py", "import aiohttp.web\nfrom forklight.observe import journal"),
        ("forklight/commands/serve.py", "from forklight import app\nfrom forklight.admin.client import client"),
        ("triggers/http/socket/connection.py", "from triggers.http.problems import STOPPED"),
        ("forklight/observe/metrics.py", "import prometheus_client"),
        ("forklight/testing/running.py", "from sandbox.guest._forklight.handler import Function, load"),
        ("forklight/testing/running.py", "from sandbox.guest._forklight import invocation"),
        ("sandbox/wire.py", "from sandbox.guest._forklight.wire import LENGTHS, MAX_HEADER_BYTES"),
        ("sandbox/guest/__main__.py", "import sys\nfrom _forklight import zygote"),
        ("sandbox/guest/_forklight/zygote.py", "import json\nfrom . import control\nfrom .wire import Frames"),
        ("tests/unit/test_wire.py", "import aiohttp\nfrom sandbox.guest._forklight.wire import Frames"),
    ],
)
def test_an_allowed_import_is_left_alone(path: str, source: str) -> None:
    assert import_violations(PurePosixPath(path), source) == []


def test_a_circle_is_found_wherever_its_imports_stand() -> None:
    sources = {
        PurePosixPath("bus/a.py"): "def late():\n    from bus import b",
        PurePosixPath("bus/b.py"): "if TYPE_CHECKING:\n    from .c.d import D",
        PurePosixPath("bus/c/__init__.py"): "from bus.c.d import D",
        PurePosixPath("bus/c/d.py"): "import bus.a, bus.a.no_such_module",
    }
    assert set(circle(sources)) == {"bus.a", "bus.b", "bus.c.d"}
    del sources[PurePosixPath("bus/b.py")]
    assert circle(sources) == []


def test_a_long_file_is_found() -> None:
    assert length_violations(PurePosixPath("bus/bus.py"), "x = 1\n" * 400) == []
    assert length_violations(PurePosixPath("bus/bus.py"), "x = 1\n" * 401) == [
        "bus/bus.py: 401 lines, at most 400: split it by idea"
    ]


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_long_function_is_found(keyword: str) -> None:
    def source(lines: int) -> str:
        return f"class Bus:\n    {keyword} call(self):\n" + "        pass\n" * (lines - 1)

    assert length_violations(PurePosixPath("bus/bus.py"), source(50)) == []
    assert length_violations(PurePosixPath("bus/bus.py"), source(51)) == ["bus/bus.py:2: call has 51 lines, at most 50"]


def exception_bases(source: str) -> Iterator[str]:
    """The exceptions of a file that derive from Exception itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id == "Exception" for base in node.bases
        ):
            yield node.name


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT.keys() - {"sandbox", GUEST}))
def test_a_package_has_one_base_of_its_exceptions(layer: str) -> None:
    files = [path for path in python_files() if layer_of(module_of(path)) == layer]
    found = [name for path in files for name in exception_bases((ROOT / path).read_text())]
    assert len(found) <= 1
