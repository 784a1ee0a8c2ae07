"""What a box shows, as options of bubblewrap: read off in order, as bubblewrap carries them out."""

from pathlib import Path

import pytest

from sandbox.box import KEEPER, options
from sandbox.containment import Containment, Level, Mechanism, Mount
from sandbox.errors import LoadFailed
from sandbox.spec import MIB

BOXED = Containment(level=Level.NAMESPACES, scratch_bytes=5 * MIB)
ARGUMENTS = {"--ro-bind": 2, "--bind": 2, "--dev-bind": 2, "--symlink": 2, "--tmpfs": 1, "--proc": 1, "--perms": 1}
ARGUMENTS |= {"--size": 1, "--cap-drop": 1, "--remount-ro": 1, "--chdir": 1}


def read(found: list[str]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """The switches, and what lies at each path, in order."""
    switches, places = [], {}
    words = iter(found)
    for word in words:
        if word == "--":
            assert tuple(words) == KEEPER
            break
        given = tuple(next(words) for _ in range(ARGUMENTS.get(word, 0)))
        if word in ("--ro-bind", "--bind", "--dev-bind", "--symlink", "--tmpfs", "--proc"):
            assert given[-1] not in places, "each path has one thing"
            places[given[-1]] = (word, *given[:-1])
        else:
            switches += [word, *given]
    return switches, places


def test_a_box_has_namespaces_by_name_and_ends_read_only() -> None:
    switches, places = read(options(BOXED, ()))

    assert {"--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--as-pid-1"} <= set(switches)
    assert "--unshare-all" not in switches, "it goes on without a user namespace"
    assert switches[-4:-2] == ["--remount-ro", "/"]
    assert places["/tmp"] == places["/dev/shm"] == ("--tmpfs",)
    assert switches.count("5242880") == 2


@pytest.mark.parametrize(
    ("network", "without", "is_cut_off"),
    [
        (True, frozenset(), False),
        (False, frozenset(), True),
        ((), frozenset(), True),
        (False, frozenset({Mechanism.NETWORK_NAMESPACE}), False),
    ],
)
def test_only_a_function_that_asks_for_it_has_a_network_of_its_own(
    network: bool | tuple[()], without: frozenset[Mechanism], is_cut_off: bool
) -> None:
    contained = Containment(level=Level.NAMESPACES, network=network, without=without)

    assert ("--unshare-net" in options(contained, ())) is is_cut_off


def test_folders_come_before_what_lies_in_them(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    mounts = (Mount(inner, Path("/tmp/a/deep/er"), writable=True), Mount(tmp_path, Path("/tmp/a")))
    _, places = read(options(Containment(level=Level.NAMESPACES, mounts=mounts), (inner,)))
    order = list(places)

    assert order.index("/tmp") < order.index("/tmp/a") < order.index("/tmp/a/deep/er")
    assert places["/tmp/a"] == ("--ro-bind", str(tmp_path))
    assert places["/tmp/a/deep/er"] == ("--bind", str(inner))
    assert all(
        order.index(str(folder)) < order.index(path)
        for path in order
        for folder in Path(path).parents
        if str(folder) in places
    )


def test_what_a_shown_folder_has_is_not_shown_again(tmp_path: Path) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    _, places = read(options(BOXED, (tmp_path / "venv" / "bin", tmp_path / "venv", Path("/usr/bin"))))

    assert [path for path in places if path.startswith(str(tmp_path))] == [str(tmp_path / "venv")]
    assert "/usr/bin" not in places


def test_an_interpreter_behind_links_is_found_by_each_of_its_names(tmp_path: Path) -> None:
    """A virtual environment in a folder behind a link, whose python leads to one behind another link."""
    real = tmp_path / "python-3.12.1" / "bin"
    real.mkdir(parents=True)
    (real / "python3.12").touch()
    (tmp_path / "python-3.12").symlink_to("python-3.12.1")
    venv = tmp_path / "releases" / "7" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").symlink_to(tmp_path / "python-3.12" / "bin" / "python3.12")
    (tmp_path / "current").symlink_to("releases/7")
    _, places = read(options(BOXED, (tmp_path / "current" / "bin" / "python", tmp_path / "current", real.parent)))

    assert places[str(tmp_path / "current")] == ("--symlink", "releases/7")
    assert places[str(tmp_path / "python-3.12")] == ("--symlink", "python-3.12.1")
    assert places[str(venv.parent)] == ("--ro-bind", str(venv.parent))
    assert places[str(real.parent)] == ("--ro-bind", str(real.parent))
    assert len([path for path in places if path.startswith(str(tmp_path))]) == 4


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    for needed, why in ((tmp_path / "one", "Too many levels"), (tmp_path / "three", "No such file")):
        with pytest.raises(LoadFailed, match=f"{needed}: {why}"):
            options(BOXED, (needed,))


def test_a_mount_replaces_what_would_be_there(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.touch()
    _, places = read(options(Containment(level=Level.NAMESPACES, mounts=(Mount(hosts, Path("/etc/hosts")),)), ()))

    assert places["/etc/hosts"] == ("--ro-bind", str(hosts))


def test_a_copy_of_etc_takes_the_place_of_its_files_unless_more_is_wanted_there(tmp_path: Path) -> None:
    (tmp_path / "ssl" / "certs").mkdir(parents=True)
    _, places = read(options(BOXED, (), tmp_path))

    assert places["/etc"] == ("--ro-bind", str(tmp_path))
    assert {path for path in places if path.startswith("/etc/")} == {"/etc/ssl/certs"}
    more = Containment(level=Level.NAMESPACES, mounts=(Mount(tmp_path, Path("/etc/more")),))
    _, places = read(options(more, (), tmp_path))
    assert "/etc" not in places
    assert {"/etc/more", "/etc/passwd"} <= places.keys()


def test_the_machine_keeps_its_secrets() -> None:
    _, places = read(options(BOXED, ()))
    shown = [Path(path) for path, (what, *_) in places.items() if what == "--ro-bind"]

    assert shown
    for secret in ("/etc/shadow", "/etc/ssh", "/root", "/home", "/var/lib", "/run", "/sys/fs", "/etc/machine-id"):
        assert not any(Path(secret).is_relative_to(path) or path == Path(secret) for path in shown), secret
