"""Finding interpreters and asking them."""

import os
import sys
from pathlib import Path

import pytest

from forklight.code.interpreter import InterpreterError, ask_interpreter, find_python, own_interpreter
from forklight.state.users import unprivileged_user


def _script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    path.parent.chmod(0o755)
    return path


def test_a_version_is_looked_up_on_the_path(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = _script(open_path / "bin/python3.99", "exit")
    monkeypatch.setenv("PATH", str(script.parent))
    assert find_python("3.99", open_path) == script
    assert find_python("python3.99", open_path) == script
    with pytest.raises(InterpreterError, match=r'"3\.98" is not found: there is no python3\.98 on PATH; install it'):
        find_python("3.98", open_path)


def test_a_path_or_an_environment_is_relative_to_the_configuration(open_path: Path) -> None:
    script = _script(open_path / "venv/bin/python", "exit")
    for written in ("venv", "./venv/", "venv/bin/python", str(script)):
        assert find_python(written, open_path) == script
    with pytest.raises(InterpreterError, match=r'"venv/python" is not found: there is no .*/venv/python; install it'):
        find_python("venv/python", open_path)
    with pytest.raises(InterpreterError, match="is a directory but no environment: it has no bin/python"):
        find_python("venv/bin", open_path)


def test_our_own_interpreter_says_of_itself_what_we_know_of_it(open_path: Path) -> None:
    link = _script(open_path / "python", f'exec {sys.executable} "$@"')
    asked = ask_interpreter(link, unprivileged_user())
    assert asked == own_interpreter() == ask_interpreter(Path(sys.executable), unprivileged_user())
    assert asked.is_ours


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'Unknown option: -I' >&2; exit 2", "not Python 3.10 or later: exit status 2, Unknown option: -I"),
        ("exit 0", "is not Python 3.10 or later: exit status 0, no message"),
        (
            """echo '{"python": "/p", "version": "3.9.18", "prefix": "/", "base_prefix": "/", "cache_tag": "x"}'""",
            "is Python 3.9.18: functions need 3.10 or later",
        ),
        (
            """echo '{"python": "/p", "version": "3.12.1", "prefix": "/none", "base_prefix": "/", "cache_tag": "x"}'""",
            "/none cannot be read: No such file or directory",
        ),
    ],
)
def test_what_is_no_interpreter_for_functions(open_path: Path, script: str, message: str) -> None:
    with pytest.raises(InterpreterError) as caught:
        ask_interpreter(_script(open_path / "python", script), unprivileged_user())
    assert message in str(caught.value)


def test_a_file_that_cannot_be_run(open_path: Path) -> None:
    file = open_path / "python"
    file.write_text("x")
    file.chmod(0o644)
    with pytest.raises(InterpreterError, match=r"python (cannot be run: Permission denied|is not Python)"):
        ask_interpreter(file, unprivileged_user())


def test_an_interpreter_behind_a_closed_directory_names_it(open_path: Path) -> None:
    closed = open_path / "closed"
    script = _script(closed / "python", "exit")
    closed.chmod(0o700 if os.geteuid() == 0 else 0o000)
    user = unprivileged_user()
    who = f"the user {user.name!r}" if user else "this user"
    with pytest.raises(InterpreterError, match=f"is blocked by {closed} for {who}: move it"):
        ask_interpreter(script, user)
    closed.chmod(0o700)
