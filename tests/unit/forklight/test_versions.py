"""Versions and snapshots."""

import marshal
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from forklight.code import bytecode
from forklight.code.interpreter import own_interpreter
from forklight.code.snapshots import staged
from forklight.config.configuration import Config, load
from forklight.config.problem import ConfigError
from forklight.serving.isolation import containments
from forklight.serving.renewal import Served
from forklight.serving.versions import complete_guest, make_guest, make_versions, remove_unused, version_of
from forklight.state.directory import State, open_state
from forklight.state.users import as_user, unprivileged_user
from sandbox.spec import FunctionSpec


@pytest.fixture
def state(open_path: Path) -> Iterator[State]:
    with open_state(open_path / "state", unprivileged_user()) as state:
        yield state


def _config(folder: Path, more: str = "", environ: dict[str, str] | None = None) -> Config:
    folder.mkdir(exist_ok=True)
    (folder / "a.py").write_text("VALUE = 42\ndef handler(event): return VALUE\n")
    (folder / "broken.py").write_text("def (:\n")
    (folder / "forklight.toml").write_text(f'[functions.f]\nhandler = "a:handler"\n{more}')
    return load(folder, environ or {})


def _spec(folder: Path, state: State, more: str = "", environ: dict[str, str] | None = None) -> FunctionSpec:
    return make_versions(_config(folder, more, environ), state).specs["f"]


def test_the_data_folder_is_a_mount_of_the_function_that_asks_for_it(open_path: Path) -> None:
    config = _config(open_path / "code", 'mounts = ["/srv"]\ndata = true\n[functions.g]\nhandler = "a:handler"')
    found, data = containments(config), config.data
    assert {(mount.source, mount.writable) for mount in found["f"].mounts} == {(data, True), (Path("/srv"), False)}
    assert found["g"].mounts == ()


def test_a_function_whose_mount_is_replaced_is_another(open_path: Path) -> None:
    folder, aside = open_path / "mounted", open_path / "aside"
    folder.mkdir()
    config = _config(open_path / "code", f'mounts = ["{folder}"]')
    before = containments(config)
    assert containments(config) == before
    folder.rename(aside)  # so that the number of its inode is not given to another
    folder.mkdir()
    assert containments(config) != before


def test_a_snapshot_is_read_only_compiled_and_complete(open_path: Path, state: State) -> None:
    spec = _spec(open_path / "code", state)
    assert (len(spec.version), len(spec.code.name)) == (12, 12)
    paths = {path.relative_to(spec.code).as_posix(): path for path in spec.code.rglob("*")}
    pyc = f"__pycache__/a.{sys.implementation.cache_tag}.pyc"
    assert set(paths) == {"a.py", "broken.py", "__pycache__", pyc}
    for path in (spec.code, *paths.values()):
        assert path.stat().st_mode & 0o777 == (0o555 if path.is_dir() else 0o444), path
    assert list(state.versions.iterdir()) == [spec.code]


def test_the_user_imports_the_snapshot_and_not_from_where_it_was_written(open_path: Path, state: State) -> None:
    (open_path / "code").mkdir(mode=0o700)
    spec = _spec(open_path / "code", state)
    program = f"import sys; sys.path.insert(0, {str(spec.code)!r}); import a; print(a.VALUE, a.__cached__)"
    done = subprocess.run(
        [*as_user(unprivileged_user()), sys.executable, "-v", "-I", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        cwd="/",
    )
    assert done.stdout == f"42 {spec.code}/__pycache__/a.{sys.implementation.cache_tag}.pyc\n"
    assert f"matches {spec.code}/a.py" in done.stderr


def _again(folder: Path, state: State, earlier: FunctionSpec) -> FunctionSpec:
    """The version that the code of `folder` is by now, with what is the same as before taken from the earlier one."""
    return make_versions(load(folder, {}), state, {"f": Served(spec=earlier, contents={}, loaded=None)}).specs["f"]


def test_only_what_differs_from_the_earlier_snapshot_is_made_anew(open_path: Path, state: State) -> None:
    code = open_path / "code"
    first = _spec(code, state)
    (code / "b.py").write_text("NEW = 1\n")
    second = _again(code, state, first)
    for name in ("a.py", f"__pycache__/a.{sys.implementation.cache_tag}.pyc"):
        assert (second.code / name).samefile(first.code / name)
    remove_unused(state, {second.code.name})
    (code / "a.py").write_text("VALUE = 43\ndef handler(event): return VALUE\n")  # of the same size
    third = _again(code, state, second)
    assert not (third.code / "a.py").samefile(second.code / "a.py")
    assert "43" in (third.code / "a.py").read_text()
    assert (third.code / f"__pycache__/b.{sys.implementation.cache_tag}.pyc").exists()
    (code / "a.py").chmod(0o755)
    fourth = _again(code, state, third)
    modes = [one.code.joinpath("a.py").stat().st_mode & 0o777 for one in (third, fourth)]
    assert modes == [0o444, 0o555]


def test_a_version_made_beside_an_earlier_one_is_what_it_would_be_without(open_path: Path, state: State) -> None:
    code = open_path / "code"
    first = _spec(code, state)
    (code / "b.py").write_text("NEW = 1\n")
    second = _again(code, state, first)
    contents = {path.relative_to(second.code): path.read_bytes() for path in second.code.rglob("*") if path.is_file()}
    remove_unused(state, set())
    alone = make_versions(load(code, {}), state).specs["f"]
    assert alone == second
    assert contents == {path.relative_to(alone.code): path.read_bytes() for path in alone.code.rglob("*.*")}


def test_a_version_that_has_a_snapshot_keeps_it(open_path: Path, state: State) -> None:
    spec = _spec(open_path / "code", state)
    before = spec.code.stat().st_ino
    (open_path / "code/a.py").touch()
    assert _spec(open_path / "code", state) == spec
    assert spec.code.stat().st_ino == before


def test_a_change_of_the_timeout_makes_no_version(open_path: Path, state: State) -> None:
    version = _spec(open_path / "code", state, 'timeout = "1s"').version
    assert _spec(open_path / "code", state, 'timeout = "2s"').version == version
    assert _spec(open_path / "code", state, 'env = { A = "1" }').version != version


def test_what_makes_a_version_and_what_does_not(open_path: Path) -> None:
    config = _config(open_path / "code")
    function, runtime, interpreter = config.functions["f"], config.runtimes["default"], config.interpreters["default"]
    settings = function.settings

    def version(digest: str = "d", key: bytes = b"k", **changes: object) -> str:
        changed = {"function": function, "runtime": runtime, "interpreter": interpreter} | changes
        return version_of(**changed, code_digest=digest, key=key)  # type: ignore[arg-type]

    same = version()
    for irrelevant in (
        replace(function, settings=replace(settings, timeout_s=1.0, grace_s=1.0, init_timeout_s=1.0)),
        replace(function, settings=replace(settings, limits=replace(settings.limits, memory_bytes=1))),
        replace(function, name="g"),
    ):
        assert version(function=irrelevant) == same
    versions = [
        version(digest="e"),
        version(key=b"l"),
        version(function=replace(function, env={"A": "1"})),
        version(function=replace(function, secrets=type(function.secrets)(A="1"))),
        version(function=replace(function, settings=replace(settings, handler="a:other"))),
        version(function=replace(function, settings=replace(settings, hooks=replace(settings.hooks, init="a:b")))),
        version(runtime=replace(runtime, preload=("json",))),
        version(runtime=replace(runtime, env={})),
        version(interpreter=replace(interpreter, version="3.99.0")),
        version(interpreter=replace(interpreter, prefix="/other")),
    ]
    assert len({same, *versions}) == len(versions) + 1


def test_functions_with_the_same_code_share_a_snapshot(open_path: Path, state: State) -> None:
    more = '[functions.g]\nhandler = "a:other"\n[functions.h]\nhandler = "a:handler"\n'
    specs = make_versions(_config(open_path / "code", more), state).specs
    assert specs["f"].version == specs["h"].version != specs["g"].version
    assert list(state.versions.iterdir()) == [specs["f"].code] == [specs["g"].code]


def test_a_spec_has_all_that_the_sandbox_needs_and_shows_no_secret(open_path: Path, state: State) -> None:
    more = """
timeout = "3s"
memory = "32MiB"
hooks = { init = "a:begin" }
env = { A = "1" }
env_file = ".env"
secrets = { S = { env = "X" }, T = { file = "keys/t" } }
"""
    (open_path / "code/keys").mkdir(parents=True)
    (open_path / "code/keys/t").write_text("hunter2")
    (open_path / "code/keys/u").write_text("hunter2")
    (open_path / "code/.env").write_text("B=hunter2")
    more += '[functions.g]\nhandler = "a:h"\nsecrets = { U = { file = "keys/u" } }\n'
    config = _config(open_path / "code", more, {"X": "hunter2"})
    spec = make_versions(replace(config, functions={"f": config.functions["f"]}), state).specs["f"]
    assert (spec.name, spec.handler, spec.hooks.init, spec.hooks.stop) == ("f", "a:handler", "a:begin", None)
    assert (spec.timeout_s, spec.grace_s, spec.limits.memory_bytes) == (3.0, 0.5, 32 * 1024 * 1024)
    assert (spec.env, spec.secrets) == ({"A": "1", "B": "hunter2"}, {"S": "hunter2", "T": "hunter2"})
    assert spec.runtime.python == Path(sys.executable)
    assert "hunter2" not in repr(spec.secrets)
    for path in state.path.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_what_is_used_no_more_is_removed_and_what_a_crash_left(open_path: Path, state: State) -> None:
    config = _config(open_path / "code")
    old, guest = make_versions(config, state).specs["f"], make_guest(config, state)
    (state.versions / ".new-left/pkg").mkdir(parents=True)
    (open_path / "code/b.py").write_text("")
    new = _spec(open_path / "code", state)
    assert new.code != old.code
    remove_unused(state, {new.code.name, guest.name})
    assert list(state.versions.iterdir()) == [new.code]
    assert list(state.guest.iterdir()) == [guest]


def test_code_that_cannot_be_taken_is_a_problem_of_its_key(open_path: Path, state: State) -> None:
    config = _config(open_path / "code", 'code = "."')
    (open_path / "code/link").symlink_to("/etc")
    with pytest.raises(ConfigError) as caught:
        make_versions(config, state)
    assert str(caught.value).startswith(f"{open_path}/code/forklight.toml:3 functions.f.code: {open_path}/code/link is")
    assert list(state.versions.iterdir()) == []


def test_a_single_file_and_its_modules(open_path: Path, state: State) -> None:
    for name in ("hello.py", "beside.py", "notes.txt"):
        (open_path / name).write_text("")
    spec = make_versions(load(open_path / "hello.py", {}), state).specs["hello"]
    assert sorted(path.name for path in spec.code.iterdir()) == ["__pycache__", "beside.py", "hello.py"]


def test_the_guest_is_there_for_the_user(open_path: Path, state: State) -> None:
    config = _config(open_path / "code")
    guest = make_guest(config, state)
    assert make_guest(config, state) == guest
    assert guest.parent == state.guest
    listed = subprocess.run(
        [*as_user(config.user), "ls", guest, guest / "_forklight"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert "__main__.py" in listed.stdout.split()
    assert "__pycache__" in listed.stdout.split()
    assert guest.stat().st_mode & 0o777 == 0o555


def test_a_guest_is_completed_after_a_server_that_was_killed_at_it(tmp_path: Path) -> None:
    config, ours = _config(tmp_path / "app"), own_interpreter()
    (tmp_path / "guest").mkdir()
    (tmp_path / "guest" / "a.py").write_text("VALUE = 42\n")
    cache = tmp_path / "guest" / "__pycache__"
    cache.write_text("in the way")
    with pytest.raises(OSError, match="__pycache__"):  # no mistake of the configuration
        complete_guest(tmp_path / "guest", config, {"ours": ours})
    cache.parent.chmod(0o755)  # it was sealed
    cache.unlink()
    cache.mkdir()
    half = cache / f"a.{ours.cache_tag}.new"
    half.write_text("half")
    half.chmod(0o444)
    complete_guest(tmp_path / "guest", config, {"ours": ours})

    assert [path.name for path in cache.iterdir()] == [f"a.{ours.cache_tag}.pyc"]
    assert not [path for path in (cache, *cache.iterdir()) if path.stat().st_mode & 0o222]


def test_another_interpreter_compiles_as_the_user_and_writes_nothing_itself(open_path: Path, state: State) -> None:
    code = open_path / "code"
    _config(code)
    python = open_path / "python"
    python.write_text(f'#!/bin/sh\nid -u >&2\ntouch {code}/written || true\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    other = replace(own_interpreter(), python=python, cache_tag="other-1")
    assert not other.is_ours
    with staged(code, frozenset(), state.versions) as stage:
        stage.compile(other, unprivileged_user())
        compiled = (stage.path / "__pycache__/a.other-1.pyc").read_bytes()
        expected = bytecode.pyc((code / "a.py").read_bytes(), "a.py")
        assert (compiled[:16], marshal.loads(compiled[16:])) == (expected[:16], marshal.loads(expected[16:]))
        assert not (stage.path / "__pycache__/broken.other-1.pyc").exists()
    if os.geteuid() == 0:
        assert not (code / "written").exists()
