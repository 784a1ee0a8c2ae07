"""What pyproject.toml says of packages and dependencies is true of the tree, the lock file and the environment."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
NOT_SHIPPED = {"tests", "benchmarks", "examples"}


def test_every_package_is_in_the_wheel() -> None:
    there = {init.parent.name for init in ROOT.glob("[!.]*/__init__.py")} - NOT_SHIPPED
    assert there <= set(PACKAGES), "add the missing packages to [tool.hatch.build.targets.wheel] in pyproject.toml"


def test_every_dependency_is_locked() -> None:
    wanted = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    names = {re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0] for requirement in wanted}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/dev.txt").read_text(), flags=re.MULTILINE))
    assert names <= locked, "pyproject.toml has new dependencies: run scripts/lock"


def test_the_lock_file_names_no_host() -> None:
    assert "://" not in (ROOT / "requirements/dev.txt").read_text()


@pytest.mark.ordinary_user
def test_no_stranger_owns_our_names() -> None:
    """Our packages are plain top-level names: which of two wins depends on the order of sys.path."""
    owners = packages_distributions()
    assert "pytest" in owners, "the environment cannot be read"
    assert {package: owners[package] for package in PACKAGES if set(owners.get(package, [])) - {"forklight"}} == {}
