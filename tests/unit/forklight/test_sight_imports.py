"""A reload keeps a function only if it would answer the same from the new code."""

import contextlib
import importlib
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from forklight.code.sight import module_of
from sandbox.guest._forklight.own_files import loaded_files
from tests.kit.sight import Code, decided

ENTRY = "f_entry"
MODULES = {
    "f_entry": "f_entry.py",
    "f_lib": "f_lib.py",
    "f_pkg": "f_pkg/__init__.py",
    "f_pkg.one": "f_pkg/one.py",
    "f_space.one": "f_space/one.py",
    "tests.test_lib": "tests/test_lib.py",
}
"""`f_space` is a namespace package, and so is `f_pkg` where its `__init__.py` is absent."""

LIBRARY = """
import importlib
def load(name):
    module, _, attribute = name.partition(":")
    found = importlib.import_module(module)
    return found
"""
"""A library outside of the code, which imports what a string names."""

HEAD = """
import os, sys
from pathlib import Path
from typing import TYPE_CHECKING
import f_library
NUMBER = {number}
leaf, package, name, library = "one", "f_pkg", "data", "f_lib"
def value(depth=0):
    if depth > 3:
        return ["deep"]
    found = [NUMBER]
"""


def imports(name: str) -> Iterator[str]:
    """Import statements in the module `name` that bind `x` to a module of the code."""
    package = name.split(".") if MODULES[name].endswith("__init__.py") else name.split(".")[:-1]
    for target in MODULES:
        base, _, leaf = target.rpartition(".")
        yield f"from {base} import {leaf} as x" if base else f"import {target} as x"
        yield f"import {target} as x"
        for level in range(1, len(package) + 1):
            above = package[: len(package) - level + 1]
            rest = target.split(".")[len(above) :]
            if rest and target.split(".")[: len(above)] == above:
                yield f"from {'.' * level}{'.'.join(rest[:-1])} import {rest[-1]} as x"


STRINGS = [
    *(f"x = f_library.load('{target}:value')" for target in MODULES),
    "x = f_library.load(f'f_pkg.{leaf}')",
    "x = f_library.load('f_pkg.' + leaf)",
    "x = f_library.load('%s.one' % package)",
    "x = f_library.Text(Path(__file__).with_name('f_lib.py').read_text())",
    "x = f_library.Text(Path(__file__).with_name('README.md').read_text())",
    "x = f_library.Text(Path('tests', 'data.json').read_text())",
]
"""Statements that bind `x` to what a string names."""
DYNAMIC = [
    "x = f_library.Text(Path(__file__).with_name(name + '.json').read_text())",
    "x = f_library.Text(repr(sorted(os.listdir(os.path.dirname(__file__)))))",
    "x = __import__('importlib').import_module('f_' + 'lib')",
    "exec('import ' + library + ' as x', globals()); x = globals()['x']",
    "from importlib import import_module; x = import_module(library)",
]
"""Statements that bind `x` to nobody knows what."""


def statements(name: str) -> st.SearchStrategy[str]:
    """Statements that bind `x` in the module `name`: seven of ten imports, two with a string, one dynamic."""
    kinds = [[*imports(name)]] * 7 + [STRINGS] * 2 + [DYNAMIC]
    return st.sampled_from(kinds).flatmap(st.sampled_from)


def sources(name: str) -> st.SearchStrategy[str]:
    """Texts of a module that imports and reads, when it is loaded or when it is called, and tells all of it."""
    placed = st.tuples(st.sampled_from(["top", "body", "types"]), statements(name))
    found = st.lists(placed, min_size=1 + (name == ENTRY), max_size=3)
    return st.builds(source, st.integers(0, 9), found)


def source(number: int, statements: list[tuple[str, str]]) -> str:
    body, top = "", ""
    for at, (place, statement) in enumerate(statements):
        match place:
            case "top":
                top += f"try:\n    {statement}\n    SEEN{at} = x\nexcept Exception:\n    SEEN{at} = None\n"
                body += f"    found.append(f_library.value(SEEN{at}, depth))\n"
            case "body":
                body += f"    try:\n        {statement}\n        found.append(f_library.value(x, depth))\n"
                body += "    except Exception as error:\n        found.append(type(error).__name__)\n"
            case "types":
                top += f"if TYPE_CHECKING:\n    {statement}\n"
    return HEAD.format(number=number) + body + "    return found\n" + top


@st.composite
def codes(draw: st.DrawFn) -> Code:
    names = draw(st.sets(st.sampled_from(sorted(MODULES)), min_size=4)) | {ENTRY}
    code = {MODULES[name]: draw(sources(name)) for name in sorted(names)}
    for name in ("data.json", "README.md", "tests/data.json"):
        if draw(st.booleans()):
            code[name] = draw(st.sampled_from("xyz"))
    return code


@st.composite
def changes(draw: st.DrawFn, code: Code) -> Code:
    """The code after somebody has worked on it: files that differ, that are new, that are gone."""
    changed = dict(code)
    files = sorted({*code, *MODULES.values(), "README.md"} - {MODULES[ENTRY]})
    for file in draw(st.lists(st.sampled_from(files), min_size=1, max_size=2)):
        what = draw(st.sampled_from(["number", "number", "number", "rewritten", "gone"]))
        name = module_of(file)
        if what == "gone":
            changed.pop(file, None)
        elif what == "number" and file in changed:
            changed[file] = changed[file].replace("NUMBER = ", "NUMBER = 1")
        else:
            changed[file] = draw(sources(name)) if name in MODULES else draw(st.sampled_from("uvw"))
    return changed


@contextlib.contextmanager
def folder_of(code: Mapping[str, str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="forklight-sight-") as path:
        for name, text in code.items():
            target = Path(path, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        yield Path(path)


class Text:
    def __init__(self, text: str) -> None:
        self.text = text


def value_of(found: object, depth: int) -> object:
    """What a module or a file says of itself."""
    if isinstance(found, Text):
        return found.text
    return found.value(depth + 1) if isinstance(found, ModuleType) and hasattr(found, "value") else repr(type(found))


@contextlib.contextmanager
def importing(folder: Path) -> Iterator[ModuleType]:
    """The entry module, freshly imported from this folder, as a template imports it."""
    library = ModuleType("f_library")
    exec(LIBRARY, vars(library))
    vars(library).update(Text=Text, value=value_of)
    before, bytecode = dict(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    sys.modules["f_library"] = library
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(ENTRY)
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = bytecode
        for name in sys.modules.keys() - before.keys():
            del sys.modules[name]
        for place in [place for place in sys.path_importer_cache if place.startswith(str(folder))]:
            del sys.path_importer_cache[place]


def answer_of(code: Code) -> tuple[object, list[str] | None]:
    """What the handler returns, and which files were loaded before it was called."""
    with folder_of(code) as folder, contextlib.chdir(folder), importing(folder) as entry:
        loaded = loaded_files(str(folder))
        return entry.value(), loaded


@pytest.mark.invariant("I39")
@given(st.data())
def test_what_is_kept_answers_the_same_from_the_new_code(data: st.DataObject) -> None:
    before = data.draw(codes())
    after = data.draw(changes(before))
    was, loaded = answer_of(before)
    why = decided(before, after, loaded, ENTRY)
    event(re.sub(r"\S*[._]\S*", "_", why) or "kept")
    if not why and before != after:
        event("kept although the code changed")
        assert answer_of(after)[0] == was
