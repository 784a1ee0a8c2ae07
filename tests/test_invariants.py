"""ARCHITECTURE.md is true of the tree: each of its invariants is checked by a test that names it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
INVARIANTS = re.findall(r"^\| (I\d+) \| .+ \|$", PAGE.read_text(), re.MULTILINE)


class PropertyTest(NamedTuple):
    """A test whose cases Hypothesis generates, and the invariants that it names."""

    name: str
    invariants: list[str]


def named_in(node: ast.AST) -> list[str]:
    """The arguments of every `pytest.mark.invariant(...)` in it."""
    calls = (call for call in ast.walk(node) if isinstance(call, ast.Call))
    marks = (call for call in calls if ast.unparse(call.func) == "pytest.mark.invariant")
    return [ast.literal_eval(argument) for mark in marks for argument in mark.args]


def property_tests(source: str) -> Iterator[PropertyTest]:
    """The functions with `@given`, and the state machines: `TestPool = PoolMachine.TestCase`, marked or not."""
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if any(ast.unparse(decorator).startswith("given(") for decorator in node.decorator_list):
                    yield PropertyTest(node.name, [name for each in node.decorator_list for name in named_in(each)])
            case ast.Assign(targets=[ast.Name(name)], value=value) if "TestCase" in ast.unparse(value):
                yield PropertyTest(name, named_in(value))


def files_of_tests() -> list[Path]:
    return sorted((ROOT / "tests").rglob("test_*.py"))


def test_each_invariant_has_a_number_of_its_own() -> None:
    assert INVARIANTS
    assert [f"I{number}" for number in range(1, len(INVARIANTS) + 1)] == INVARIANTS


def test_each_invariant_is_checked_and_nothing_else_is_named() -> None:
    named = {name for path in files_of_tests() for name in named_in(ast.parse(path.read_text()))}
    assert named == set(INVARIANTS)


def test_each_property_test_names_invariants() -> None:
    found = {path: list(property_tests(path.read_text())) for path in files_of_tests()}
    assert sum(map(len, found.values())) > 50
    silent = [f"{path}: {test.name}" for path, tests in found.items() for test in tests if not test.invariants]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize(
    ("source", "invariants"),
    [
        ("@given(st.text())\ndef test_a(text): pass", []),
        ('@pytest.mark.invariant("I1", "I2")\n@given(st.text())\nasync def test_a(text): pass', ["I1", "I2"]),
        ("TestA = Machine.TestCase", []),
        ('TestA = pytest.mark.invariant("I3")(pytest.mark.timeout(300)(Machine.TestCase))', ["I3"]),
    ],
)
def test_what_a_property_test_names_is_found(source: str, invariants: list[str]) -> None:
    [found] = property_tests(source)
    assert found.invariants == invariants
