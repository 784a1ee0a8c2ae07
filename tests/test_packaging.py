"""What pyproject.toml says of packages and dependencies is true of the tree, the lock file and the environment."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS: dict[str, Any] = PROJECT["dependency-groups"]
LOCKS = ROOT / "requirements"
WHEEL: dict[str, Any] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
PACKAGES: list[str] = WHEEL["packages"]
COMPILED: list[str] = WHEEL["hooks"]["custom"]["modules"]
NOT_SHIPPED = {"tests", "benchmarks", "examples"}


def test_every_package_is_in_the_wheel() -> None:
    there = {init.parent.name for init in ROOT.glob("[!.]*/__init__.py")} - NOT_SHIPPED
    assert there <= set(PACKAGES), "add the missing packages to [tool.hatch.build.targets.wheel] in pyproject.toml"


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("dev", PROJECT["project"]["dependencies"] + GROUPS["dev"] + GROUPS["examples"]),
        ("dev", WHEEL["hooks"]["custom"]["requires"]),
        ("runtime", PROJECT["project"]["dependencies"]),
        ("examples", GROUPS["examples"]),
    ],
)
def test_every_dependency_is_locked(lock: str, wanted: list[str | dict[str, str]]) -> None:
    requirements = [requirement for requirement in wanted if isinstance(requirement, str)]  # others include a group
    names = {re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0] for requirement in requirements}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (LOCKS / f"{lock}.txt").read_text(), flags=re.MULTILINE))
    assert names <= locked, "pyproject.toml has new dependencies: run scripts/lock"


def test_every_import_is_declared() -> None:
    owners = packages_distributions()
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "guest" not in path.parts]
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - set(PACKAGES)
    declared = {re.split(r"[<>=]", one)[0].lower() for one in PROJECT["project"]["dependencies"]}
    assert {owner.lower().replace("_", "-") for top in tops for owner in owners[top]} <= declared


@pytest.mark.parametrize("lock", sorted(path.name for path in LOCKS.iterdir()))
def test_the_lock_files_name_no_host(lock: str) -> None:
    assert "://" not in (LOCKS / lock).read_text()


@pytest.mark.ordinary_user
def test_no_stranger_owns_our_names() -> None:
    """Our packages are plain top-level names: which of two wins depends on the order of sys.path."""
    owners = packages_distributions()
    assert "pytest" in owners, "the environment cannot be read"
    assert {package: owners[package] for package in PACKAGES if set(owners.get(package, [])) - {"forklight"}} == {}


@pytest.mark.ordinary_user
def test_hot_modules_are_compiled_only_where_they_are_to_be() -> None:
    """scripts/test says in which of its runs: the other shows that pure Python is complete."""
    wanted = ".so" if os.environ.get("FORKLIGHT_TESTS_COMPILED") else ".py"
    files = [import_module(path.removesuffix(".py").replace("/", ".")).__file__ or "" for path in COMPILED]
    assert {Path(file).suffix for file in files} == {wanted}
    assert len(files) > 10


@pytest.mark.parametrize("path", COMPILED)
def test_no_compiled_module_defines_a_struct(path: str) -> None:
    """mypyc would drop the options of the class without a word."""
    classes = [node for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes if any(word.arg != "metaclass" for word in node.keywords)] == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"FORKLIGHT_COMPILE": "1", "CC": "no-such-compiler"}, ("no-such-compiler", "apt-get install gcc")),
        ({"FORKLIGHT_COMPILE": "yes"}, ("FORKLIGHT_COMPILE=yes", "set it to 1")),
    ],
)
def test_a_build_that_cannot_compile_says_what_to_do(
    settings: dict[str, str], words: tuple[str, ...], tmp_path: Path
) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
