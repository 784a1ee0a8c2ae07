"""Loading a function: finding its handler and hooks, and the code and message of every failure."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.guest._forklight.handler import Function, LoadError, load
from tests.kit.guest import make_head, run_guest

FUNCTIONS = Path(__file__).parents[2] / "functions"
Load = Callable[..., Function]


@pytest.fixture
def load_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Load a handler from files with the given sources in the working directory, as a template does."""
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def load_it(
        handler: str, *, hooks: dict[str, str | None] | None = None, concurrency: int = 1, **sources: str
    ) -> Function:
        for name, source in sources.items():
            file = tmp_path / f"{name.replace('__in__', '/')}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(source)
        settings: dict[str, Any] = {"runtime": "imaging", "max_result": 1000, "concurrency": concurrency}
        return load(name="shop", version="v1", handler=handler, hooks=hooks or {}, **settings)

    yield load_it
    for name in set(sys.modules) - known:
        del sys.modules[name]


def failure(load_in: Load, handler: str, *, hooks: dict[str, str | None] | None = None, **sources: str) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load_in(handler, hooks=hooks, **sources)
    return caught.value


def test_a_function_knows_how_to_call_its_handler(load_in: Load) -> None:
    function = load_in("fl_app:handler", fl_app="def handler(event): return event")
    assert function.call({"a": 1}) == {"a": 1}
    assert (function.is_async, function.takes_context) == (False, False)
    assert (function.name, function.version, function.max_result) == ("shop", "v1", 1000)
    assert function.logger.name == "shop"


def test_both_sides_may_be_dotted(load_in: Load) -> None:
    source = "class Shop:\n    async def order(self, event, context): ...\nshop = Shop()"
    function = load_in("fl_lib.shop:shop.order", fl_lib__in__shop=source)
    assert (function.is_async, function.takes_context) == (True, True)


def test_a_file_may_have_a_name_that_no_import_statement_knows(load_in: Load) -> None:
    assert load_in("fl-hello-world:handler", **{"fl-hello-world": "def handler(event): ..."}).takes_context is False


NOT_FOUND = [
    ("fl_app:handlr", "has handler, other_one (did you mean 'handler'?)"),
    ("fl_app:zzz", "module 'fl_app' has handler, other_one"),
    ("fl_app:handler.missing", "'fl_app:handler.missing' does not exist"),
    ("fl_app", "is not of the form module:attribute"),
    ("fl_app:", "is not of the form module:attribute"),
    (":handler", "is not of the form module:attribute"),
    ("fl_app: handler", "is not of the form module:attribute"),
    ("fl_app:NUMBER", "'fl_app:NUMBER' is not callable, it is an object of type int"),
    ("fl_app:Shop", "is a class"),
    ("fl_app:stream", "is a generator function, and this version cannot stream"),
]
APP = """
from json import dumps
NUMBER = 5
class Shop: ...
def handler(event): ...
def other_one(event): ...
def _private(event): ...
"""


@pytest.mark.parametrize(("handler", "message"), NOT_FOUND)
def test_handler_not_found(load_in: Load, handler: str, message: str) -> None:
    stream = "\ndef stream(event): yield 1" if handler.endswith("stream") else ""
    error = failure(load_in, handler, fl_app=APP + stream)
    assert error.code == "HandlerNotFound"
    assert message in error.message


def test_a_missing_third_party_module_says_how_to_add_it(load_in: Load) -> None:
    error = failure(load_in, "fl_app:handler", fl_app="import fl_no_such.thing")
    assert error.code == "ImportModuleError"
    assert error.message.startswith("No module named 'fl_no_such': ")
    assert f"runtime 'imaging' (Python {sys.version.split()[0]} at {sys.prefix})" in error.message
    assert error.message.endswith(f"{sys.executable} -m pip install fl_no_such")
    assert "import fl_no_such.thing" in error.traceback
    assert "importlib" not in error.traceback


def test_a_missing_module_of_the_functions_own(load_in: Load) -> None:
    error = failure(load_in, "fl_app:handler", fl_app="import fl_lib.nothing", fl_lib__in__x="")
    assert error.code == "ImportModuleError"
    assert error.message == "No module named 'fl_lib.nothing': the function's own 'fl_lib' has no such module"


def test_a_missing_entry_module_names_those_there_are(load_in: Load) -> None:
    error = failure(load_in, "fl_ap:handler", fl_app="", fl_lib__in__x="")
    assert error.code == "ImportModuleError"
    assert "not in the function's code (fl_app, fl_lib)" in error.message
    assert error.message.endswith("(did you mean 'fl_app'?)")
    error = failure(load_in, "fl_lib.shop:handler")
    assert error.message == "No module named 'fl_lib.shop': the function's own 'fl_lib' has no such module"


def test_a_name_that_cannot_be_imported_from_a_module(load_in: Load) -> None:
    error = failure(load_in, "fl_app:handler", fl_app="from json import no_such_name")
    assert error.code == "ImportModuleError"
    assert "cannot import name 'no_such_name' from 'json'" in error.message
    assert "runtime 'imaging'" in error.message


def test_a_sync_handler_cannot_run_several_calls_at_once(load_in: Load) -> None:
    source = "def handler(event): ...\nasync def ahandler(event): ..."
    with pytest.raises(LoadError) as raised:
        load_in("fl_app:handler", concurrency=20, fl_app=source)
    assert raised.value.code == "InitFailed"
    assert raised.value.message == (
        "the handler 'fl_app:handler' is `def` and runs one call at a time, but the configuration has "
        "concurrency = 20: make it `async def`, or remove `concurrency` and raise `max_instances`"
    )
    assert load_in("fl_app:ahandler", concurrency=20, fl_app=source).concurrency == 20


@pytest.mark.parametrize("source", ["def handler(event:\n", "if True:\nx = 1\n", "if True:\n\tx = 1\n        y = 2\n"])
def test_syntax_errors_name_file_and_line(load_in: Load, source: str) -> None:
    error = failure(load_in, "fl_app:handler", fl_app="import fl_bad", fl_bad="\n" + source)
    assert error.code == "SyntaxError"
    assert error.message.startswith("fl_bad.py:")
    assert int(error.message.split(":")[1]) >= 2
    assert "fl_bad.py" in error.traceback


@pytest.mark.parametrize("name", ["json", "queue.handlers", "sys", "_forklight", "_forklight.handler"])
def test_an_entry_module_cannot_have_a_name_that_is_taken(load_in: Load, name: str) -> None:
    error = failure(load_in, f"{name}:dumps")
    assert error.code == "BuiltInModuleConflict"
    assert repr(name.partition(".")[0]) in error.message
    assert "rename" in error.message


def test_an_entry_module_cannot_have_the_name_of_a_preloaded_one(load_in: Load) -> None:
    error = failure(load_in, "hypothesis:handler", hypothesis="def handler(event): ...")
    assert error.code == "BuiltInModuleConflict"
    assert "preloads" in error.message


INIT_FAILURES = [
    ("1 / 0", "importing 'fl_app' failed: ZeroDivisionError: division by zero"),
    ("import sys; sys.exit(3)", "importing 'fl_app' failed: SystemExit: 3"),
    ("raise KeyboardInterrupt", "importing 'fl_app' failed: KeyboardInterrupt: "),
    ("import sys; del sys.modules[__name__]", "importing 'fl_app' failed: KeyError: 'fl_app'"),
    ("def __getattr__(name): raise OSError(name)", "looking up the handler 'fl_app:handler' failed: OSError: handler"),
]


@pytest.mark.parametrize(("source", "message"), INIT_FAILURES)
def test_whatever_else_the_import_raises(load_in: Load, source: str, message: str) -> None:
    error = failure(load_in, "fl_app:handler", fl_app=source)
    assert (error.code, error.message) == ("InitFailed", message)
    assert str(error) == f"InitFailed: {message}"
    assert "_forklight" not in error.traceback


def test_hooks_run_and_missing_ones_do_nothing(load_in: Load) -> None:
    function = load_in(
        "fl_app:handler",
        hooks={"init": "fl_hooks:connect", "after_fork": None},
        fl_app="def handler(event): ...",
        fl_hooks="calls = []\ndef connect(): calls.append('init')",
    )
    assert list(function.hooks) == ["init"]
    for hook in ("init", "after_fork", "stop"):
        function.run_hook(hook)
    assert sys.modules["fl_hooks"].calls == ["init"]


@pytest.mark.parametrize("raising", ["ValueError('no database')", "SystemExit('no database')"])
def test_a_hook_that_fails(load_in: Load, raising: str) -> None:
    source = f"def handler(event): ...\ndef connect():\n    raise {raising}"
    function = load_in("fl_app:handler", hooks={"init": "fl_app:connect"}, fl_app=source)
    with pytest.raises(LoadError) as caught:
        function.run_hook("init")
    assert caught.value.code == "InitFailed"
    assert caught.value.message == f"the hook 'init' failed: {raising.partition('(')[0]}: no database"
    assert caught.value.traceback.count('  File "') == 1


async def test_the_stop_hook_of_an_async_handler_may_be_async(load_in: Load) -> None:
    source = (
        "calls = []\nasync def handler(event): ...\nasync def stop(): calls.append('stop')\n"
        "def after_fork(): calls.append('after_fork')\nasync def broken(): raise ValueError('no')"
    )
    hooks: dict[str, str | None] = {"stop": "fl_app:stop", "after_fork": "fl_app:after_fork"}
    function = load_in("fl_app:handler", hooks=hooks, fl_app=source)
    for hook in ("init", "after_fork", "stop"):
        await function.arun_hook(hook)
    assert sys.modules["fl_app"].calls == ["after_fork", "stop"]
    function = load_in("fl_app:handler", hooks={"stop": "fl_app:broken"})
    with pytest.raises(LoadError, match="the hook 'stop' failed: ValueError: no"):
        await function.arun_hook("stop")


BAD_HOOKS: list[tuple[dict[str, str | None], str]] = [
    ({"init": "fl_app:NUMBER"}, "the hook init = 'fl_app:NUMBER' is not callable, it is an object of type int"),
    ({"init": "fl_app:missing"}, "the hook init = 'fl_app:missing' does not exist: module 'fl_app' has handler, ainit"),
    ({"init": "fl_app:ainit"}, "must be `def`: only the stop hook of an async handler may be async"),
    ({"stop": "fl_app:ainit"}, "must be `def`: only the stop hook of an async handler may be async"),
]


@pytest.mark.parametrize(("hooks", "message"), BAD_HOOKS)
def test_hooks_that_cannot_be_used(load_in: Load, hooks: dict[str, str | None], message: str) -> None:
    source = "NUMBER = 5\ndef handler(event): ...\nasync def ainit(): ..."
    error = failure(load_in, "fl_app:handler", hooks=hooks, fl_app=source)
    assert error.code == "HandlerNotFound"
    assert message in error.message


LOAD_AND_RUN = """
import os
sys.path.insert(1, os.getcwd())
from _forklight import handler, invocation
function = handler.load(name="f", version="v", handler={handler!r}, runtime="default", hooks={{}}, max_result=1000)
reply = invocation.run(function, {head!r}, b'{{"name": "Ada"}}', lambda: False)
assert '"t":"ok"' in reply.fields, reply
print(reply.chunks[0].decode())
"""


OWN_NAMES = ["bus", "sandbox", "triggers", "dispatcher", "forklight", "numpy"]


@pytest.mark.parametrize(
    ("folder", "handler", "result"),
    [
        ("own_names", "app:handler", json.dumps([f"my own {name}" for name in OWN_NAMES], separators=(",", ":"))),
        ("own_names", "lib.deep.shop:shop.order", "ordered"),
        ("hello", "hello:handler", '{"hello":"Ada","attempt":2}'),
    ],
)
def test_sample_functions_in_a_process_like_a_template(folder: str, handler: str, result: str) -> None:
    head = make_head(datacontenttype="application/json")
    done = run_guest(LOAD_AND_RUN.format(handler=handler, head=head), FUNCTIONS / folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == result + "\n"


def test_what_the_guest_imports_for_everyone_stays_light(tmp_path: Path) -> None:
    """Importing asyncio and the like costs more than the start of an instance, and most functions need none of them."""
    done = run_guest(
        "from _forklight import invocation, logs, threads\n"
        "heavy = {'asyncio', 'email', 'dataclasses', 'inspect', 'decimal', 'urllib', 'uuid', 'base64', 'difflib'}\n"
        "print(sorted(heavy & set(sys.modules)))",
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
