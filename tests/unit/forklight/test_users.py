"""Users, and what they can reach."""

import os
import subprocess
from pathlib import Path

import pytest

from forklight.state.users import User, as_user, blocking, is_this_process, unprivileged_user

IS_ROOT = os.geteuid() == 0
STRANGER = User("stranger", 54321, 54321)


def test_only_root_runs_functions_as_somebody_else() -> None:
    user = unprivileged_user()
    if IS_ROOT:
        assert user is not None
        assert user.name in ("forklight", "nobody")
        assert user.uid != 0
    else:
        assert user is None
        assert unprivileged_user("root") is None


def test_root_is_refused_and_so_is_a_user_who_does_not_exist() -> None:
    if IS_ROOT:
        with pytest.raises(ValueError, match=r'"root" is root \(uid 0\): functions never run as root'):
            unprivileged_user("root")
        with pytest.raises(ValueError, match='"no-such-user" is not a user of this machine: create it'):
            unprivileged_user("no-such-user")
    assert is_this_process("root") is IS_ROOT
    assert not is_this_process("no-such-user")


def test_a_command_runs_as_the_user_without_any_privilege() -> None:
    user = unprivileged_user()
    done = subprocess.run(
        [*as_user(user), "cat", "/proc/self/status"], capture_output=True, text=True, check=True, timeout=30
    )
    status = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
    uid = user.uid if user else os.geteuid()
    assert status["Uid"].split() == [str(uid)] * 4
    if user:
        assert status["Groups"].strip() == ""
        assert status["CapBnd"] == "0" * 16
        assert status["NoNewPrivs"] == "1"


def test_the_directory_that_blocks_is_found(open_path: Path) -> None:
    file = open_path / "a/b/file"
    file.parent.mkdir(parents=True)
    file.touch()
    for path, mode in ((open_path / "a", 0o755), (open_path / "a/b", 0o755), (file, 0o644)):
        path.chmod(mode)
    link = open_path / "link"
    link.symlink_to(file)
    assert blocking(link, STRANGER) is None

    file.chmod(0o640)
    assert blocking(link, STRANGER) == file
    (open_path / "a").chmod(0o750)
    assert blocking(link, STRANGER) == open_path / "a"
    assert blocking(file, STRANGER) == open_path / "a"
    assert blocking(file, User("member", 54321, os.getegid())) is None
    assert blocking(file, None) is None
