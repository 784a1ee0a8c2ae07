"""What a reload says, to people and in a header."""

from dispatcher.change import NotLoaded
from forklight.config.problem import ConfigError, Problem
from forklight.serving.change import failed
from forklight.serving.reloaded import Failure, ReloadResult, lines, one_line
from sandbox.errors import LoadFailed, StartFailed


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
    error = NotLoaded({"a": LoadFailed("InitFailed", "no", "Traceback:\n  x\n"), "b": StartFailed("no room")})
    told = failed(error)
    assert told.failures[0] == Failure(function="a", code="InitFailed", message="no", traceback="Traceback:\n  x\n")
    assert lines(told) == ["a: load/InitFailed: no", "Traceback:", "  x", "b: load/StartFailed: no room"]


def test_a_header_has_one_line_of_ascii() -> None:
    told = failed(NotLoaded({"a": LoadFailed("InitFailed", "nö\r\nSet-Cookie: x=1" + "y" * 1000)}))
    line = one_line(told)
    assert line.isascii()
    assert line.isprintable()
    assert line.startswith("a: load/InitFailed: n\\xf6")
    assert len(line) <= 500
