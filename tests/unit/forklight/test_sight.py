"""Whether a function may see what changed: every doubt renews it, and what is certain does not."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from forklight.code.references import MOST_BYTES, of_strings
from forklight.code.sight import MOST_FILES, Loaded, why_renew, why_renew_program
from sandbox.guest._forklight.own_files import loaded_files
from tests.kit.sight import contents, decided, references_in

APPLICATION = {
    "main.py": "",
    "used.py": "",
    "other.py": "",
    "pkg/__init__.py": "",
    "pkg/one.py": "",
    "pkg/inner/two.py": "",
    "tests/test_main.py": "",
    "tests/cases.json": "",
    "my-tool.py": "",
    "data.json": "",
    "README.md": "",
}


def decided_on(main: str, changed: str, *, path: str = "main.py", entry: str = "main", variable: str = "") -> str:
    """Why `entry` is renewed when `changed` changes; `main` is the text of `path`."""
    before = APPLICATION | {path: main}
    was = Loaded(contents=contents(before), entries=(entry,), files=frozenset([path]), variables=of_strings([variable]))
    return why_renew(was, contents(before | {changed: "changed = 1"}), lambda name: references_in(before, name))


@pytest.mark.parametrize(
    ("main", "changed"),
    [
        ("", "other.py"),
        ("import used, pkg.one", "other.py"),
        ("import pkg.one", "pkg/inner/two.py"),
        ("'''other and other.py'''", "other.py"),
        ("def f():\n    'other.py'", "other.py"),
        ("print('the other module')", "other.py"),
        ("send('other', {'other': 1})", "other.py"),
        ("import re; re.compile('a')", "other.py"),
        ("import ast, platform; platform.system()", "other.py"),
        ("import os; os.environ['A']", "other.py"),
        ("", "tests/test_main.py"),
        ("", "tests/cases.json"),
        ("", "pkg/test_one.py"),
        ("", "conftest.py"),
        ("", "README.md"),
    ],
)
def test_what_is_certain_not_to_be_seen_renews_nothing(main: str, changed: str) -> None:
    assert decided_on(main, changed) == ""


@pytest.mark.parametrize(
    ("main", "changed"),
    [
        ("import used", "used.py"),
        ("if TYPE_CHECKING:\n    import used", "used.py"),
        ("def f():\n    import used as u", "used.py"),
        ("class A:\n    def f(self):\n        from used import x", "used.py"),
        ("import pkg.inner.two", "pkg/__init__.py"),
        ("from pkg import one", "pkg/one.py"),
        ("from pkg.inner import two", "pkg/inner/two.py"),
        ("from pkg import *", "pkg/inner/two.py"),
        ("try:\n    import tests.test_main\nexcept ImportError: ...", "tests/test_main.py"),
        ("load('used:handler')", "used.py"),
        ("load('pkg.one.Thing')", "pkg/one.py"),
        ("load(f'pkg.{name}')", "pkg/one.py"),
        ("load('pkg.' + name)", "pkg/inner/two.py"),
        ("load('%s.one' % package)", "pkg/one.py"),
        ("load(b'pkg.one')", "pkg/one.py"),
        ("open('used.py')", "used.py"),
        ("open('tests/cases.json')", "tests/cases.json"),
        ("open(HERE / 'README.md')", "README.md"),
    ],
)
def test_what_it_names_anywhere_renews_it(main: str, changed: str) -> None:
    assert decided_on(main, changed).startswith("main.py may "), decided_on(main, changed)


def test_relative_imports_start_from_the_package() -> None:
    one = {"path": "pkg/one.py", "entry": "pkg.one"}
    assert decided_on("from .inner import two", "pkg/inner/two.py", **one) == (
        "pkg/one.py may load pkg/inner/two.py, which has changed"
    )
    assert decided_on("from . import x", "pkg/__init__.py", **one).startswith("its configuration may load pkg/__init__")
    assert decided_on("from .other import x", "other.py", **one) == ""
    assert decided_on("from ..other import x", "other.py", **one).endswith("which may load anything")
    package = {"path": "pkg/__init__.py", "entry": "pkg"}
    assert decided_on("from .inner import two", "pkg/inner/two.py", **package) != ""
    assert decided_on("from . import one", "pkg/inner/two.py", **package) == ""


@pytest.mark.parametrize(
    "main",
    [
        "import importlib",
        "from importlib import metadata",
        "__import__(name)",
        "exec(text)",
        "eval(text)",
        "import pkgutil",
        "from runpy import run_path",
        "import subprocess",
        "from multiprocessing import Process",
        "from concurrent.futures import ProcessPoolExecutor",
        "import pickle",
        "import os; os.listdir(here)",
        "from os import walk",
        "import os; os.system(command)",
        "import os as o",
        "open(HERE / f'{name}.py')",
        "open(name + '.py')",
        "app.config.from_object('other')",
        "import sys; sys.path.insert(0, 'lib')",
        "from sys import path",
        "from sys import *",
        "Path(here).glob(pattern)",
        "from werkzeug.utils import import_string",
        "import asyncio; asyncio.create_subprocess_exec(*command)",
        "def (:",
        "x = " + "(" * 500 + ")" * 500,
        "x = " + "-" * 100_000 + "1",
        "\0",
        "# coding: no-such-coding",
        "#" * (MOST_BYTES + 1),
    ],
)
def test_what_may_load_anything_is_renewed_by_any_code(main: str) -> None:
    assert decided_on(main, "other.py").endswith("which may load anything")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ("data.json", "data.json has changed, which is not Python code"),
        ("template.html", "template.html has changed, which is not Python code"),
        ("new.py", "new.py is new"),
        ("pkg/new.py", "pkg/new.py is new"),
        ("my-tool.py", "my-tool.py has changed, which has not the name of a module"),
        ("main.py", "its configuration may load main.py, which has changed"),
    ],
)
def test_what_may_concern_any_function(changed: str, why: str) -> None:
    assert decided_on("", changed) == why


def test_what_is_gone_may_concern_any_function() -> None:
    before = contents(APPLICATION)
    was = Loaded(contents=before, entries=("main",), files=frozenset(["main.py"]))
    after = {name: content for name, content in before.items() if name != "other.py"}
    assert why_renew(was, after, lambda name: references_in(APPLICATION, name)) == "other.py is gone"


def test_what_it_has_loaded_by_other_ways_or_cannot_tell() -> None:
    assert decided(APPLICATION, APPLICATION | {"other.py": "1"}, None, "main").startswith("it is unknown which files")
    for file in ("used.py", "../outside.py", "native.so"):
        why = f"it has loaded {file}, to which no import leads"
        assert decided(APPLICATION, APPLICATION | {"other.py": "1"}, ["main.py", file], "main") == why
    code = APPLICATION | {"main.py": "import native", "native.cpython-311.so": ""}
    why = decided(code, code | {"other.py": "1"}, ["main.py", "native.cpython-311.so"], "main")
    assert why == "native.cpython-311.so uses compiled code, which may load anything"
    assert decided(APPLICATION, APPLICATION, None, "main") == "", "nothing has changed"


@pytest.mark.parametrize("changed", ["src/shop/__init__.py", "src/shop/api.py", "src/shop/later.py"])
def test_any_folder_of_the_code_may_be_on_the_module_path(changed: str) -> None:
    """A library that is installed in editable mode lies in the code, but its template loads it from elsewhere."""
    code = dict.fromkeys(["src/shop/__init__.py", "src/shop/later.py", "src/shop/other.py", "src/json.py"], "")
    code["src/shop/api.py"] = "import json\ndef handler(event):\n    from shop import later"
    assert decided(code, code | {changed: "1"}, [], "shop.api") != ""
    assert decided(code, code | {"src/shop/other.py": "1"}, [], "shop.api") == ""
    assert decided(code, code | {"src/json.py": "1"}, [], "shop.api") == "", "that of the standard library comes first"


def test_data_in_a_folder_called_tests_that_is_not_at_the_top() -> None:
    """Templates include one another by names that are in no Python file."""
    name = "templates/tests/list.html"
    assert decided(APPLICATION | {name: ""}, APPLICATION | {name: "1"}, ["main.py"], "main").startswith(name)


def test_variables_name_modules_too() -> None:
    assert decided_on("", "pkg/one.py", variable="pkg.one:Settings") == (
        "its environment may load pkg/one.py, which has changed"
    )


def test_a_reach_that_is_too_large() -> None:
    code = {f"m{n}.py": f"import m{n + 1}" for n in range(MOST_FILES + 2)} | {"other.py": ""}
    assert decided(code, code | {"other.py": "1"}, ["m0.py"], "m0") == f"it may load more than {MOST_FILES} files"


def test_what_a_template_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*names: str) -> None:
        for name in names:
            module = ModuleType(f"f_{name}")
            module.__file__ = f"{tmp_path}/{name}"
            monkeypatch.setitem(sys.modules, module.__name__, module)

    assert loaded_files(str(tmp_path)) == []
    loaded("b.py", "a/c.py")
    monkeypatch.setitem(sys.modules, "f_odd", object())
    assert loaded_files(str(tmp_path)) == ["a/c.py", "b.py"]
    assert loaded_files(str(tmp_path / "a")) == ["c.py"]
    loaded("\udcff.py")
    assert loaded_files(str(tmp_path)) is None
    monkeypatch.undo()
    loaded(*(f"{n}.py" for n in range(10_000)))
    assert loaded_files(str(tmp_path)) is None


def test_a_program_may_read_anything_but_tests_and_documents() -> None:
    before = {"index.js": "1", "README.md": "1", "tests/a.js": "1"}
    assert why_renew_program(before, before | {"README.md": "2", "tests/a.js": "2"}) == ""
    assert why_renew_program(before, before | {"lib/new.js": "1"}) == "lib/new.js has changed"
