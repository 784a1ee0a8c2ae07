"""What a reload says, to people and in a header."""

from pathlib import Path

import pytest

from dispatcher.change import NotLoaded
from forklight.code.snapshots import as_written
from forklight.config.problem import ConfigError, Problem
from forklight.serving.change import failed
from forklight.serving.reloaded import Failure, ReloadResult, lines, one_line
from sandbox.errors import LoadFailed, StartFailed
from sandbox.spec import FunctionSpec, Runtime


def not_loaded(**errors: LoadFailed | StartFailed) -> NotLoaded:
    runtime, code = Runtime(name="r", python=Path("/python")), Path("/the state/versions/0123456789ab")
    spec = FunctionSpec(name="a", version="1", code=code, handler="a:b", runtime=runtime)
    return NotLoaded(errors, dict.fromkeys(errors, spec))


@pytest.mark.parametrize(
    ("text", "of_code", "in_folder"),
    [
        ('File "/my state/versions/ab/x/y.py", line 1', 'File "x/y.py", line 1', 'File "/app/x/y.py", line 1'),
        ("at f (/my state/versions/ab/x.js:1:2)", "at f (x.js:1:2)", "at f (/app/x.js:1:2)"),
        ("at file:///my%20state/versions/ab/x.mjs:1", "at x.mjs:1", "at /app/x.mjs:1"),
        ("/my state/versions/abc/x.py", "/my state/versions/abc/x.py", "/my state/versions/abc/x.py"),
    ],
)
def test_files_of_a_snapshot_are_named_as_those_of_the_code(text: str, of_code: str, in_folder: str) -> None:
    snapshot = Path("/my state/versions/ab")
    assert as_written(text, snapshot) == of_code
    assert as_written(text, snapshot, Path("/app")) == in_folder


def test_what_was_switched() -> None:
    told = ReloadResult(ok=True, changed=("a", "b"), removed=("c",))
    assert lines(told) == ["reloaded: a, b changed; c removed"]
    assert lines(ReloadResult(ok=True)) == ["reloaded: no function changed"]
    assert (told.is_quiet, ReloadResult(ok=True).is_quiet, ReloadResult(ok=False).is_quiet) == (False, True, False)


def test_of_a_thousand_functions_some_are_named() -> None:
    names = tuple(f"f{number}" for number in range(1000))
    [line] = lines(ReloadResult(ok=True, changed=names))
    assert line.startswith("reloaded: f0, f1, f2, ")
    assert line.endswith("f19 and 980 more changed")


def test_every_problem_with_its_place() -> None:
    problems = [Problem("f.toml", 3, "a.b", "is wrong"), Problem("f.toml", 1, "c", "is too")]
    assert lines(failed(ConfigError(problems))) == ["f.toml:1 c: is too", "f.toml:3 a.b: is wrong"]


def test_what_does_not_load_with_its_traceback() -> None:
    trace = "Traceback:\n  in /the state/versions/0123456789ab/a.py\n"
    error = not_loaded(a=LoadFailed("InitFailed", "no", trace), b=StartFailed("no room"))
    told = failed(error)
    assert told.failures[0] == Failure(
        function="a", code="InitFailed", message="no", traceback="Traceback:\n  in a.py\n"
    )
    assert lines(told) == ["a: load/InitFailed: no", "Traceback:", "  in a.py", "b: load/StartFailed: no room"]


def test_a_header_has_one_line_of_ascii() -> None:
    told = failed(not_loaded(a=LoadFailed("InitFailed", "nö\r\nSet-Cookie: x=1" + "y" * 1000)))
    line = one_line(told)
    assert line.isascii()
    assert line.isprintable()
    assert line.startswith("a: load/InitFailed: n\\xf6")
    assert len(line) <= 500
