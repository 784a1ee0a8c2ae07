"""What a function can ask of its isolation, how that is written, and what is wrong with mounts."""

import sys
from pathlib import Path

import pytest

from forklight.config.configuration import load
from forklight.config.problem import ConfigError
from sandbox.containment import Endpoint, Level, Mount
from sandbox.levels import Asked

HEAD = '[functions.f]\nhandler = "f:handler"\n'


def problems(folder: Path, toml: str) -> list[str]:
    (folder / "forklight.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load(folder, {}, folder / "state")
    found = [str(problem).replace(f"{folder}", "FOLDER") for problem in caught.value.problems]
    return [problem.removeprefix("FOLDER/forklight.toml:") for problem in found]


def asked(folder: Path, toml: str) -> Asked:
    (folder / "forklight.toml").write_text(toml)
    return load(folder, {"PLACE": "db:1"}, folder / "state").functions["f"].settings.isolation.asked


def test_a_function_asks_for_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "a/spool").mkdir(parents=True)
    defaults = '[defaults]\nisolation = "namespaces"\nnetwork = false\nmax_processes = 9\n'
    own = f"""\
network = ["${{PLACE}}", "DB.example.com:5432", "[::1]:80"]
mounts = ["{tmp_path}/a", "{tmp_path}/a/spool:rw", "{tmp_path}/a/spool:/data", "{tmp_path}/a:/mnt/a:rw"]
scratch = "1MiB"
cpu = 1
"""
    a, spool = tmp_path / "a", tmp_path / "a/spool"
    assert asked(tmp_path, defaults + HEAD) == Asked(level=Level.NAMESPACES, network=False, max_processes=9)
    assert asked(tmp_path, defaults + HEAD + own) == Asked(
        level=Level.NAMESPACES,
        network=(Endpoint("db", 1), Endpoint("db.example.com", 5432), Endpoint("::1", 80)),
        mounts=(
            Mount(a, a),
            Mount(spool, spool, writable=True),
            Mount(spool, Path("/data")),
            Mount(a, Path("/mnt/a"), writable=True),
        ),
        scratch_bytes=1024 * 1024,
        max_processes=9,
        cpu=1.0,
    )
    assert asked(tmp_path, HEAD + 'isolation = "best"').level is None


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('network = "db:5432"', 'network: must be true, false or a list, not a string: write ["db:5432"]'),
        ('network = "false"', "network: must be true, false or a list, not a string: write false"),
        ("network = []", "network: is an empty list: write false"),
        ('network = ["db"]', 'network[0]: "db" is not a place: write a host and a port'),
        ('network = ["http://db:1"]', 'network[0]: "http://db:1" is not a place: write a host and a port'),
        ('network = ["db:1", "::1:5"]', 'network[1]: "::1:5" is not a place: write a host and a port'),
        ('network = ["db:0"]', 'network[0]: "db:0" has no port from 1 to 65535 at its end'),
        ('network = ["db:65536"]', 'network[0]: "db:65536" has no port from 1 to 65535 at its end'),
        ('isolation = "none"', 'isolation: "none" is not "best" or "filters" or "limits" or "namespaces"'),
        ("cpu = 0", "cpu: must be more than zero"),
        ("max_processes = 0", "max_processes: must be more than zero"),
        ('volumes = ["/srv"]', 'volumes: unknown key: write mounts = ["/srv/data:rw"]'),
        ('mounts = "/srv"', 'mounts: must be a list, not a string: write ["/srv"]'),
        ('mounts = ["data"]', "mounts[0]: \"data\" has a relative path: write an absolute one instead of 'data'"),
        ('mounts = ["/a:ro:rw"]', "mounts[0]: \"/a:ro:rw\" has a relative path: write an absolute one instead of 'ro'"),
        ('mounts = ["/a:/b:/c"]', 'mounts[0]: "/a:/b:/c" is not a mount: write "/srv/data"'),
        ('mounts = ["/a/../b"]', 'mounts[0]: "/a/../b" has .. in its path: write the path that /a/../b leads to'),
        ('mounts = ["/no/such"]', "mounts[0]: /no/such does not exist: create it"),
        ('mounts = ["/usr"]', "mounts[0]: would hide /usr: mount it at a place of its own, such as /usr:/mnt/usr"),
        ('mounts = ["/:/x/.."]', 'mounts[0]: "/:/x/.." has .. in its path'),
        ('mounts = ["/etc:/"]', "mounts[0]: would hide /proc: mount it at a place of its own, such as /etc:/mnt/etc"),
        ('mounts = ["/etc:/usr/x"]', "mounts[0]: /usr/x lies in /usr, which a box has of its own: mount it in another"),
        ('mounts = ["/etc:/proc/x"]', "mounts[0]: /proc/x lies in /proc, which a box has of its own"),
        ('mounts = ["/proc/self:/x"]', "mounts[0]: /proc/self belongs to the kernel, of which a box has its own"),
        ('mounts = ["/"]', "mounts[0]: / holds the state directory FOLDER/state: mount a folder that does not"),
        ('mounts = ["FOLDER"]', "mounts[0]: FOLDER holds the state directory FOLDER/state: mount a folder that"),
        ('mounts = ["FOLDER/link"]', "mounts[0]: FOLDER/link lies in the state directory FOLDER/state: functions keep"),
        ('mounts = ["/var:FOLDER/state/x"]', "mounts[0]: FOLDER/state/x lies in FOLDER/state, which a box has"),
        ('mounts = ["/var", "/etc:/var"]', "mounts[0]: /var is mounted twice: leave one of them out"),
        (
            'mounts = ["/var", "/etc/passwd:/var/x"]',
            "mounts[1]: /var/x lies in the mount of /var, where there is no file /var/x: make one",
        ),
        ('mounts = ["/etc:PREFIX"]', "mounts[0]: would hide PREFIX: mount it at a place of its own"),
        ('mounts = ["PREFIX:rw"]', "mounts[0]: would hide PREFIX: mount it at a place of its own"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_the_remedy(tmp_path: Path, written: str, problem: str) -> None:
    (tmp_path / "state/data").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "state/data")
    written, problem = written.replace("PREFIX", sys.prefix), problem.replace("PREFIX", sys.prefix)
    found = problems(tmp_path, HEAD + written.replace("FOLDER", str(tmp_path)) + "\n")
    assert found[0].startswith(f"3 functions.f.{problem}"), found
