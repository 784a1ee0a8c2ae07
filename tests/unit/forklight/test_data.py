"""The data folder: made for the functions' user, checked, never changed."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from forklight.config.configuration import load
from forklight.config.problem import ConfigError
from forklight.state.data import DataError, make_data_folder
from forklight.state.directory import open_state
from forklight.state.users import User, as_user, unprivileged_user

TOML = """
[defaults]
data = true
[functions.shop]
handler = "shop:handler"
[functions.other]
handler = "shop:handler"
data = false
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs functions as another user")


@pytest.fixture
def user() -> User | None:
    return unprivileged_user()


def write_as(user: User | None, folder: Path) -> int:
    """Write a file as the functions would; the exit status."""
    return subprocess.run([*as_user(user), "touch", folder / "file"], check=False, capture_output=True).returncode


def test_it_is_made_for_the_functions_alone_and_then_left_as_it_is(open_path: Path, user: User | None) -> None:
    data = open_path / "data"
    make_data_folder(data, user)
    assert data.stat().st_mode & 0o777 == 0o700
    assert write_as(user, data) == 0
    data.chmod(0o750)
    make_data_folder(data, user)
    assert data.stat().st_mode & 0o777 == 0o750
    assert [entry.name for entry in open_path.iterdir()] == ["data"]
    assert [entry.name for entry in data.iterdir()] == ["file"]


def test_it_may_be_a_link_to_a_folder_elsewhere(open_path: Path, user: User | None) -> None:
    make_data_folder(open_path / "disk", user)
    (open_path / "data").symlink_to("disk")
    make_data_folder(open_path / "data", user)
    assert write_as(user, open_path / "data") == 0


def test_opening_the_state_spares_it(open_path: Path, user: User | None) -> None:
    for _ in range(2):
        with open_state(open_path / "state", user) as state:
            make_data_folder(state.path / "data", user)
            (state.path / "data/file").touch()
    assert (open_path / "state/data/file").exists()


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def a_file(path: Path) -> None:
    path.touch()


def closed(path: Path) -> None:
    path.mkdir(mode=0o700)
    if os.geteuid() == 0:
        user = unprivileged_user()
        assert user
        os.chown(path, user.uid, user.gid)
    path.chmod(0o500)


def of_another(path: Path) -> None:
    path.mkdir(mode=0o700)


def out_of_reach(path: Path) -> None:
    disk = path.parent / "disk"
    disk.mkdir(mode=0o755)
    make_data_folder(disk / "data", unprivileged_user())
    disk.chmod(0o700)
    path.symlink_to("disk/data")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (dangling, "is a link to nowhere, which does not exist: create that, or remove the link"),
        (a_file, "is not a folder: move it away"),
        (
            closed,
            "is closed to the user '{user}', who runs the functions (owner {user}, mode 0500): chmod u+rwx {data}",
        ),
        pytest.param(
            of_another,
            "is closed to the user '{user}', who runs the functions (owner root, mode 0700): "
            "as root, chown -R {user}: {data}",
            marks=as_root,
        ),
        pytest.param(
            out_of_reach,
            "is out of reach for the user '{user}', who runs the functions: {disk} blocks the way; "
            "open it (chmod a+x {disk})",
            marks=as_root,
        ),
    ],
)
def test_what_is_wrong_with_it_is_told_with_the_remedy(
    open_path: Path, user: User | None, spoil: Callable[[Path], None], told: str
) -> None:
    data = open_path / "data"
    spoil(data)
    name = user.name if user else subprocess.check_output(["id", "-un"], text=True).strip()
    with pytest.raises(DataError) as raised:
        make_data_folder(data, user)
    assert str(raised.value) == f"the data folder {data} " + told.format(user=name, data=data, disk=open_path / "disk")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_made_says_why(open_path: Path) -> None:
    (open_path / "state").mkdir(mode=0o500)
    with pytest.raises(DataError, match=r"^the data folder \S+/state/data cannot be used: Permission denied$"):
        make_data_folder(open_path / "state/data", None)


def test_those_who_ask_get_its_path_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "forklight.toml").write_text(TOML)
    config = load(tmp_path, {"FORKLIGHT_STATE": "/srv/state"})
    assert config.functions["shop"].env == {"FORKLIGHT_DATA": "/srv/state/data"}
    assert config.functions["other"].env == {}


@pytest.mark.parametrize(
    "line", ['env = { FORKLIGHT_DATA = "/srv" }', 'secrets = { FORKLIGHT_DATA = { env = "X" } }', 'env_file = "vars"']
)
def test_a_function_that_sets_the_variable_itself_does_not_ask_for_the_folder(tmp_path: Path, line: str) -> None:
    (tmp_path / "vars").write_text("FORKLIGHT_DATA=/srv\n")
    (tmp_path / "forklight.toml").write_text(TOML.replace("data = false", line))
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, {"X": "/srv"})
    [problem] = raised.value.problems
    assert (problem.line, problem.key.split(".")[2]) == (8, line.partition(" ")[0])
    assert problem.message == "sets FORKLIGHT_DATA, as data = true does: keep one of them"

    (tmp_path / "forklight.toml").write_text(TOML.replace("data = false", f"data = false\n{line}"))
    other = load(tmp_path, {"X": "/srv"}).functions["other"]
    assert (other.env | other.secrets)["FORKLIGHT_DATA"] == "/srv"
