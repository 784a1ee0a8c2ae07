"""What an interpreter reads, without the state directory that may lie in the midst of it."""

from pathlib import Path

import pytest

from sandbox.readable import readable, there
from sandbox.spec import FunctionSpec, Runtime

pytestmark = pytest.mark.any_user

PYTHON, CODE, GUEST = Path("/usr/bin/python3"), Path("/code"), Path("/guest")


def spec(**env: str) -> FunctionSpec:
    runtime = Runtime(name="default", python=PYTHON)
    return FunctionSpec(name="shop", version="1", code=CODE, handler="shop:handler", runtime=runtime, env=env)


def test_the_code_and_the_interpreter_with_its_libraries() -> None:
    libraries = there([Path("/usr"), Path("/nowhere/python311.zip"), Path("relative")], Path("/state"))
    assert libraries == (Path("/usr"),)
    assert set(readable(spec(), GUEST, libraries, Path("/state"))) == {PYTHON, CODE, GUEST, Path("/usr")}


def test_what_python_is_told_to_search(tmp_path: Path) -> None:
    found = readable(spec(PYTHONPATH=f"lib:{tmp_path}:/nowhere"), GUEST, [], Path("/state"))
    assert set(found) == {PYTHON, CODE, GUEST, tmp_path}


@pytest.mark.parametrize("state", [".forklight", "var", "var/state"])
def test_of_a_project_around_the_state_directory_its_modules(tmp_path: Path, state: str) -> None:
    for folder in ("package", ".git", "var/state", ".forklight"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("module.py", ".env", "secrets.env", "forklight.toml", "pyvenv.cfg"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / state)
    found = there([tmp_path, tmp_path / "package"], tmp_path / state)

    shown = {"package", "module.py", "pyvenv.cfg", *({"var"} if state == ".forklight" else ())}
    assert set(found) == {tmp_path / name for name in shown}
