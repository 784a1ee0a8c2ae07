"""Which functions keep their version when versions are made anew, and what is read for that."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from forklight.config.configuration import load
from forklight.serving.renewal import Readings, Served
from forklight.serving.versions import Version, Versions, make_versions
from forklight.state.directory import State, open_state

TOML = '[functions.f]\nhandler = "f:handler"\n[functions.g]\nhandler = "g:handler"\n'


@pytest.fixture
def state(open_path: Path) -> Iterator[State]:
    with open_state(open_path / "state", None) as state:
        yield state


@pytest.fixture
def code(open_path: Path) -> Path:
    (open_path / "code").mkdir()
    for name in ("f", "g"):
        (open_path / f"code/{name}.py").write_text("def handler(event): ...\n")
    (open_path / "code/forklight.toml").write_text(TOML)
    return open_path / "code"


def served(version: Version, *loaded: str, problem: str = "") -> Served:
    return Served(spec=version.spec, contents=version.contents, loaded=frozenset(loaded), problem=problem)


def again(code: Path, state: State, before: Versions, readings: Readings | None, problem: str = "") -> Versions:
    """The versions by now, if those before have loaded what they must."""
    now = {name: served(version, f"{name}.py", problem=problem) for name, version in before.functions.items()}
    return make_versions(load(code, {}), state, now, readings)


def test_a_kept_function_keeps_its_version_and_is_compared_with_its_own_snapshot(code: Path, state: State) -> None:
    first = make_versions(load(code, {}), state)
    (code / "f.py").write_text("def handler(event): return 2\n")
    second = again(code, state, first, Readings())
    assert second.specs["g"] is first.specs["g"]
    assert second.functions["g"].contents is first.functions["g"].contents
    assert second.specs["f"] != first.specs["f"]
    assert second.functions["f"].why == "its configuration may load f.py, which has changed"
    assert {*state.versions.iterdir()} == {first.specs["f"].code, first.specs["g"].code, second.specs["f"].code}
    (code / "g.py").write_text("def handler(event): return 2\n")
    third = again(code, state, second, Readings())
    assert third.specs["f"] is second.specs["f"]
    assert third.specs["g"] != second.specs["g"]


def test_a_function_at_rest_gets_the_new_snapshot_and_is_loaded_only_if_it_sees_what_changed(
    code: Path, state: State
) -> None:
    first = make_versions(load(code, {}), state)
    (code / "f.py").write_text("def handler(event): return 2\n")
    resting = {
        name: Served(spec=version.spec, contents=version.contents, loaded=None, at_rest=True)
        for name, version in first.functions.items()
    }
    second = make_versions(load(code, {}), state, resting, Readings())

    assert {name: version.may_wait for name, version in second.functions.items()} == {"f": False, "g": True}
    assert (second.functions["f"].why != "", second.functions["g"].why) == (True, "")
    assert second.specs["g"].code == second.specs["f"].code != first.specs["g"].code


def test_without_readings_everything_is_renewed(code: Path, state: State) -> None:
    first = make_versions(load(code, {}), state)
    (code / "README.md").write_text("")
    second = again(code, state, first, None)
    assert {name for name, spec in second.specs.items() if spec != first.specs[name]} == {"f", "g"}


@pytest.mark.parametrize("more", ['env = { A = "1" }\n', 'timeout = "1s"\n', 'hooks = { stop = "f:handler" }\n'])
def test_another_configuration_renews_it(code: Path, state: State, more: str) -> None:
    first = make_versions(load(code, {}), state)
    (code / "forklight.toml").write_text(TOML + more)
    second = again(code, state, first, Readings())
    assert (second.specs["f"], second.specs["g"] == first.specs["g"]) == (first.specs["f"], False)
    assert second.functions["g"].why == "its configuration has changed"


def test_other_reasons(code: Path, state: State) -> None:
    (code / "forklight.toml").write_text(TOML + 'env = { PYTHONPATH = "lib" }\n')
    first = make_versions(load(code, {}), state)
    (code / "README.md").write_text("")
    second = again(code, state, first, Readings())
    assert (second.functions["f"].why, second.functions["g"].why) == ("", "PYTHONPATH may give its modules other names")
    second = again(code, state, first, Readings(), problem="no room")
    assert second.functions["f"].why == "it could not be started"


def test_a_file_is_read_once_and_one_that_was_changed_in_its_snapshot_is_not_believed(code: Path, state: State) -> None:
    first, readings = make_versions(load(code, {}), state), Readings()
    (code / "f.py").write_text("def handler(event): return 2\n")
    was = first.functions["g"]
    assert again(code, state, first, readings).specs["g"] is was.spec
    snapshot = was.spec.code / "g.py"
    snapshot.chmod(0o644)
    snapshot.write_text("import f\n")
    assert again(code, state, first, readings).specs["g"] is was.spec, "it was read before"
    why = again(code, state, first, Readings()).functions["g"].why
    assert why == "g.py uses what was changed in its snapshot, which may load anything"
    snapshot.parent.chmod(0o755)
    snapshot.unlink()
    why = again(code, state, first, Readings()).functions["g"].why
    assert why == "g.py uses what cannot be read, which may load anything"
    other = replace(was.spec, handler="no_such_module:handler")
    assert readings.why_renew(replace(served(was), spec=other), other, first.functions["f"].contents) == ""


def test_what_is_new_is_compiled_once_although_another_function_keeps_an_old_snapshot(code: Path, state: State) -> None:
    first, readings = make_versions(load(code, {}), state), Readings()
    (code / "g.py").write_text("def handler(event): return 2\n")
    second = again(code, state, first, readings)
    assert second.specs["f"] is first.specs["f"]
    third = again(code, state, second, None)
    for path in (third.specs["f"].code / "__pycache__").iterdir():
        assert path.samefile(second.specs["g"].code / "__pycache__" / path.name)
