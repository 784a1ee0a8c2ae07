"""The state directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forklight.state.directory import StateError, open_here, open_state, remove_tree, state_path
from forklight.state.users import as_user, unprivileged_user

IS_ROOT = os.geteuid() == 0


def test_the_first_place_that_is_named_is_taken(tmp_path: Path) -> None:
    source = tmp_path / "forklight.toml"
    environ = {"FORKLIGHT_STATE": "/b", "STATE_DIRECTORY": "/c:/d"}
    assert state_path(Path("/a"), environ, source) == Path("/a")
    assert state_path(None, environ, source) == Path("/b")
    assert state_path(None, {"STATE_DIRECTORY": "/c:/d"}, source) == Path("/c")
    assert state_path(Path("relative"), {}, source) == Path.cwd() / "relative"
    assert state_path(Path("../beside"), {}, source) == Path.cwd().resolve().parent / "beside"
    default = state_path(None, {}, source)
    if IS_ROOT:
        assert default.parent == Path("/var/lib/forklight")
        assert default != state_path(None, {}, tmp_path / "other.toml")
    else:
        assert default == tmp_path / ".forklight"


def test_modes_keep_others_out_and_let_the_user_in(open_path: Path) -> None:
    user = unprivileged_user()
    old_mask = os.umask(0o077)
    try:
        with open_state(open_path / "deep/state", user) as state:
            assert (state.path / ".gitignore").read_text() == "*\n"
            assert len(state.key) == 32
            (state.versions / "code").write_text("code")
            (state.versions / "code").chmod(0o444)
            assert (state.path / "key").stat().st_mode & 0o777 == 0o600
            for folder in (state.path, state.versions, state.guest):
                assert folder.stat().st_mode & 0o777 == (0o750 if user else 0o700)
            assert state.tmp.stat().st_mode & 0o7777 == (0o710 if user else 0o700)
            script = 'cat "$0/versions/code" && cd "$0/tmp"'
            subprocess.run([*as_user(user), "sh", "-c", script, state.path], check=True, timeout=30)
            if user:
                taken = subprocess.run([*as_user(user), "mkdir", state.tmp / "f-1"], capture_output=True, check=False)
                assert b"Permission denied" in taken.stderr
                shown = subprocess.run([*as_user(user), "cat", state.path / "key"], capture_output=True, check=False)
                assert b"Permission denied" in shown.stderr
    finally:
        os.umask(old_mask)


def test_tmp_is_emptied_and_the_key_stays(open_path: Path) -> None:
    (open_path / "apart").mkdir(mode=0o755)
    with open_state(open_path / "state", unprivileged_user()) as state:
        key = state.key
        (state.tmp / "left").mkdir()
        (state.tmp / "left/file").touch()
        (state.tmp / "left/link").symlink_to(open_path / "apart")
        (state.tmp / "left/closed").mkdir(mode=0o000)
        (state.tmp / "left").chmod(0o555)
    with open_state(open_path / "state", unprivileged_user()) as state:
        assert list(state.tmp.iterdir()) == []
        assert state.key == key
    assert (open_path / "apart").stat().st_mode & 0o777 == 0o755


HOLD = """
import sys
from pathlib import Path
from forklight.state.directory import {open}
from forklight.state.users import unprivileged_user
with {open}(Path(sys.argv[1]), unprivileged_user()) as state:
    print(state.path, flush=True)
    sys.stdin.read()
"""


def _holder(opener: str, path: Path) -> "subprocess.Popen[str]":
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(open=opener), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().startswith(str(path))
    return holder


def test_a_second_owner_is_told_the_pid_of_the_first(open_path: Path) -> None:
    path = open_path / "state"
    with _holder("open_state", path) as holder:
        message = f"state directory {path} is in use by the process with pid {holder.pid}; stop that one"
        with pytest.raises(StateError, match=message), open_state(path, unprivileged_user()):
            pass
        holder.kill()
    with open_state(path, unprivileged_user()) as state:
        assert (state.path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_throw_away_state_lies_in_one_that_is_in_use_and_is_removed(open_path: Path) -> None:
    path = open_path / "state"
    with open_state(path, unprivileged_user()) as state:
        with open_here(path, unprivileged_user()) as here:
            assert here.path == path / "here" / str(os.getpid())
            snapshot = here.versions / "read-only"
            snapshot.mkdir()
            (snapshot / "file").touch()
            snapshot.chmod(0o555)
        assert list((path / "here").iterdir()) == []
        assert len(state.key) == 32


def test_what_a_killed_one_left_is_removed_and_what_another_uses_is_not(open_path: Path) -> None:
    path = open_path / "state"
    with _holder("open_here", path) as killed:
        killed.kill()
    assert (path / "here" / str(killed.pid)).is_dir()
    with _holder("open_here", path) as alive:
        names = {entry.name for entry in (path / "here").iterdir()}
        assert names == {str(alive.pid), f"{alive.pid}.lock"}
        with open_here(path, unprivileged_user()):
            assert (path / "here" / str(alive.pid) / "tmp").is_dir()
        alive.kill()


@pytest.mark.skipif(not IS_ROOT, reason="only root can start it as root first")
def test_one_of_root_is_told_how_to_take_over(open_path: Path) -> None:
    path = open_path / "state"
    with open_state(path, unprivileged_user()):
        pass
    program = HOLD.format(open="open_state").replace("unprivileged_user())", "None)")
    done = subprocess.run(
        ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", sys.executable, "-c", program, path],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    advice = f"it belongs to the user 'root': as root, chown -R nobody: {path}, or name another with --state\n"
    assert done.stderr.endswith(f": Operation not permitted; {advice}")


def test_an_error_in_the_block_is_not_taken_for_one_of_the_state(open_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_state(open_path / "state", unprivileged_user()):
        raise FileNotFoundError


def test_a_directory_that_cannot_be_made_or_passed_is_named(open_path: Path) -> None:
    (open_path / "file").touch()
    with (
        pytest.raises(StateError, match=r"file/state cannot be used: .*: Not a directory"),
        open_state(open_path / "file/state", unprivileged_user()),
    ):
        pass
    message = "file cannot be used: .*/file: it is not a directory; name another with --state"
    with pytest.raises(StateError, match=message), open_state(open_path / "file", unprivileged_user()):
        pass
    closed = open_path / "closed"
    closed.mkdir(mode=0o700 if IS_ROOT else 0o500)
    message = f"{closed} blocks the way; open it" if IS_ROOT else "cannot be used: .*: Permission denied"
    with pytest.raises(StateError, match=message), open_state(closed / "state", unprivileged_user()):
        pass


def test_removing_a_tree_that_is_not_there(open_path: Path) -> None:
    remove_tree(open_path / "none")
    assert list(open_path.iterdir()) == []
