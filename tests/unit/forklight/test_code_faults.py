"""What reading the code finds out about handlers, hooks and modules, and what passes because it cannot be told."""

from pathlib import Path

import pytest

from forklight.code import syntax
from forklight.code.files import collect
from forklight.code.handlers import Fault, concurrency_fault, handler_fault, hook_fault, module_fault
from forklight.code.modules import Code

ROOT = Path(__file__).resolve().parents[3]


def _code(folder: Path, sources: dict[str, str]) -> Code:
    for name, source in sources.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return Code(collect(folder))


def _told(fault: Fault | None) -> str:
    return "" if fault is None else f"{fault.message} @{fault.file}:{fault.line}" if fault.line else fault.message


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def handle(event): ...", "does not exist: app.py has handle (did you mean 'handle'?)"),
        ("x = 1", "does not exist: app.py has no functions"),
        ("handler: int = 3", "is not callable, it is an object of type int @app.py:1"),
        ("handler = [1]", "is not callable, it is an object of type list @app.py:1"),
        ("\nclass handler: ...", "is a class: name a function, or an instance that has __call__ @app.py:2"),
        ("def handler(): ...", "takes no argument, but is called as (event) or (event, context) @app.py:1"),
        ("def handler(a, b, c): ...", "needs 3 arguments, but is called as (event) or (event, context) @app.py:1"),
        ("async def handler(a, b, /, c, d=1): ...", "needs 3 arguments, but is called as"),
        ("def handler(a, *, b): ...", "needs the keyword 'b', but is called as (event) or (event, context) @app.py:1"),
        ("def handler(e):\n for i in e:\n  yield i", "is a generator function, and this version cannot stream"),
        ("async def handler(e):\n yield e", "is a generator function"),
        ("def handler(environ, start_response): ...", "is a WSGI application, which this version does not support"),
        ("async def handler(scope, receive, send): ...", "is an ASGI application"),
        ("handler = lambda: 1", "takes no argument, but is called as (event) or (event, context) @app.py:1"),
        ("def other(): ...\nhandler = other", "takes no argument"),
        ("from lib import run as handler", "takes no argument, but is called as (event) or (event, context) @lib.py:1"),
        (
            "from lib import hander as handler",
            "is imported from lib.py, where it does not exist: lib.py has handle, run",
        ),
        ("from lib import again as handler", "is imported from deep.py, where it does not exist"),
    ],
)
def test_a_handler_that_cannot_work(tmp_path: Path, source: str, told: str) -> None:
    lib = "def run(): ...\ndef handle(e): ...\nfrom deep import nothing as again\n"
    code = _code(tmp_path, {"app": source, "lib": lib, "deep": "def something(e): ...\n"})
    assert _told(handler_fault("app:handler", code)).startswith(told)


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event): ...",
        "async def handler(event, context=None): ...",
        "def handler(*args, **kwargs): ...",
        "def handler(event, retries=3, *, log=None): ...",
        "def handler(event):\n def inner():\n  yield 1\n return list(inner())",
        "@decorated\ndef handler(): ...",
        "try:\n from fast import handler\nexcept ImportError:\n def handler(event): ...",
        "if True:\n def handler(event): ...\nelse:\n handler = None",
        "with open('x') as handler: ...",
        "for handler in range(3): ...",
        "(handler := print)",
        "def make():\n global handler\n handler = print",
        "handler = make()",
        "handler, other = make()",
        "import json as handler",
        "from installed import handler",
        "from lib import *",
        "globals()['handler'] = print",
        "exec('def handler(event): ...')",
        "import sys\nsetattr(sys.modules[__name__], 'handler', print)",
        "def __getattr__(name): ...",
        "class A:\n def __call__(self, event): ...\nhandler = A()",
        "class handler(metaclass=M): ...",
        "match make():\n case {'a': handler}: ...",
        "def broken(:",
        "handler = handler",
    ],
)
def test_a_handler_that_may_work(tmp_path: Path, source: str) -> None:
    code = _code(tmp_path, {"app": source, "lib": "x = 1\n"})
    assert handler_fault("app:handler", code) is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("class App:\n @staticmethod\n def run(event): ...", ""),
        ("class App:\n @classmethod\n def run(cls, event): ...", ""),
        ("class App(Base): ...", ""),
        ("class App: ...\nApp.run = print", ""),
        ("class App: ...", "does not exist: the class App has no 'run' @app.py:1"),
        ("class App:\n @staticmethod\n def run(): ...", "takes no argument"),
        ("class App:\n def run(self, event): ...", "takes self, but is called without an instance: write app = App()"),
        ("class App:\n def run(self, event, context): ...", "needs 3 arguments"),
        ("App = make()", ""),
    ],
)
def test_a_handler_in_a_class(tmp_path: Path, body: str, told: str) -> None:
    found = _told(handler_fault("app:App.run", _code(tmp_path, {"app": body})))
    assert found.startswith(told)
    assert bool(found) == bool(told)


@pytest.mark.parametrize(
    ("source", "may_be_async", "told"),
    [
        ("def hook(): ...", False, ""),
        ("def hook(x=1, *rest): ...", False, ""),
        ("class hook: ...", False, ""),
        ("async def hook(): ...", True, ""),
        (
            "async def hook(): ...",
            False,
            "must be `def`: only the stop hook of an async handler may be async @app.py:1",
        ),
        ("def hook(event): ...", False, "needs arguments, but a hook is called without any @app.py:1"),
        ("def hook(*, x): ...", False, "needs arguments"),
        ("hook = 'app:init'", False, "is not callable, it is an object of type str @app.py:1"),
        ("def hok(): ...", False, "does not exist: app.py has hok (did you mean 'hok'?)"),
    ],
)
def test_a_hook(tmp_path: Path, source: str, may_be_async: bool, told: str) -> None:
    found = _told(hook_fault("app:hook", _code(tmp_path, {"app": source}), may_be_async=may_be_async))
    assert found.startswith(told)
    assert bool(found) == bool(told)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("shop", ""),
        ("shop.orders", ""),
        ("loose.part", ""),
        ("installed", ""),
        ("installed.deep", ""),
        ("moved.anything", ""),
        ("shop.order", " (did you mean 'shop.orders'?)"),
        ("loose.prt", " (did you mean 'loose.part'?)"),
        ("shpo", " (did you mean 'shop'?), and 'shpo' is not installed in its runtime"),
        ("zzz", ", which has loose.part, moved, shop, shop.orders, and 'zzz' is not installed in its runtime"),
    ],
)
def test_a_module(tmp_path: Path, name: str, told: str) -> None:
    empty = ("shop/__init__", "shop/orders", "loose/part")
    code = _code(tmp_path, dict.fromkeys(empty, "") | {"moved/__init__": "__path__ = []"})
    assert module_fault(name, code, lambda top: top == "installed") == told


def test_imports_are_followed_where_they_are_certain(tmp_path: Path) -> None:
    app = "import a.b\nfrom c import d\ntry:\n import e\nexcept SyntaxError: ...\nif x:\n import f\ndef g():\n import h"
    b, i = "from . import i\nfrom .i import x\nfrom ... import beyond", "import app"
    empty = dict.fromkeys(("a/__init__", "c/__init__", "c/d", "e", "f", "h"), "")
    code = _code(tmp_path, {"app": app, "a/b": b, "a/i": i} | empty)
    found = {"app.py", "a/__init__.py", "a/b.py", "a/i.py", "c/__init__.py", "c/d.py", "h.py"}
    assert code.reached(["app"]) == found


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (b"x = 1\n", None),
        (b"x = (\n", ("SyntaxError", "'(' was never closed", 1, 5, "x = (\n    ^")),
        (b"def f():\nreturn 1\n", ("IndentationError", "expected an indented block after", 2, 1, "return 1\n^")),
        (b"if 1:\n\tx = 1\n        y = 2\n", ("TabError", "inconsistent use of tabs and spaces", 3, None, None)),
        (b"return 1\n", ("SyntaxError", "'return' outside function", 1, 1, "return 1\n^")),
        (b"# coding: latin-1\nx = '\xe4'\n", None),
        (b"\xef\xbb\xbfx = 1\n", None),
        (b"x = '\xe4'\n", ("SyntaxError", "(unicode error) 'utf-8' codec", 1, None, None)),
        (b"# coding: nonsense\n", ("SyntaxError", "unknown encoding: nonsense", 0, 0, "")),
        (b"x = 1\ny = '\0'\n", ("SyntaxError", "source code", None, 0, None)),
        (b"-" * 100_000 + b"1", None),
        (b"x = [" + b"1," * 2_000_000 + b"(]", None),
        (b"x = " + b"1 + " * 100 + b"(]", ("SyntaxError", "closing parenthesis ']'", 1, 406, None)),
    ],
    ids=range(13),
)
def test_a_syntax_error(source: bytes, fault: "tuple[object, ...] | None") -> None:
    found = syntax.fault(source)
    if fault is None or found is None:
        assert found is None
        assert fault is None
        return
    kind, message, line, column, text = fault
    assert found["kind"] == kind
    assert str(found["message"]).startswith(str(message))
    for key, value in (("line", line), ("column", column), ("text", text)):
        assert value is None or found[key] == value
    assert len(str(found["text"])) < 400


def test_our_own_code_has_no_faults() -> None:
    """As much Python as there is at hand: nothing in it is called broken, and nothing makes the reading fail."""
    for folder in (ROOT / "forklight", ROOT / "sandbox/guest"):
        code = Code(collect(folder))
        assert not any(syntax.fault(file.path.read_bytes()) for file in code.sources())
        assert len(code.reached(code.names())) == len(code.sources())
        for name in code.names():
            module = code.module(name)
            assert module is not None
            for attribute, values in module.names.items():
                fault = handler_fault(f"{name}:{attribute}", code)
                assert values
                assert fault is None or not fault.is_absent


@pytest.mark.parametrize(
    ("source", "is_refused"),
    [
        ("def handler(event): ...", True),
        ("from lib import run as handler", True),
        ("handler = lambda event: 1", True),
        ("class A:\n @staticmethod\n def run(event): ...\nhandler = A.run", False),
        ("async def handler(event): ...", False),
        ("@decorated\ndef handler(event): ...", False),
        ("import functools\nasync def one(a, event): ...\nhandler = functools.partial(one, 1)", False),
        ("class A:\n async def __call__(self, event): ...\nhandler = A()", False),
    ],
)
def test_a_sync_handler_runs_one_call_at_a_time(tmp_path: Path, source: str, is_refused: bool) -> None:
    """What cannot be seen in the source is decided when the function is loaded."""
    code = _code(tmp_path, {"app": source, "lib": "\ndef run(event): ...\n"})
    assert concurrency_fault("app:handler", code, 1) is None
    told = _told(concurrency_fault("app:handler", code, 100))
    assert told.startswith("is `def` and runs one call at a time") == is_refused
    assert ("@" in told) == is_refused
