"""`[machine] uids`: what a range may be, and that a number never goes from one function to another."""

import os
import pwd
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forklight.config.configuration import Config, load
from forklight.config.problem import ConfigError
from forklight.config.uids import UidRange, is_mapped
from forklight.state.uids import Exhausted, UidsError, allot, keep_uids, read_uids, uids_path
from forklight.state.users import User, blocking, may_write
from sandbox.launch import Uids

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives functions users")
NAMES = st.sets(st.sampled_from("abcdefghij"), max_size=8)
RANGES = st.builds(lambda first, size: Uids(first, first + size), st.integers(100, 120), st.integers(1, 12))


@pytest.mark.invariant("I47")
@settings(max_examples=200)
@given(st.lists(st.tuples(NAMES, RANGES), max_size=6))
def test_a_number_stays_with_its_function_and_in_the_range(rounds: list[tuple[set[str], Uids]]) -> None:
    """Whatever functions come and go, and however the range moves."""
    given: dict[int, str] = {}
    for names, uids in rounds:
        numbers = range(uids.first + 1, uids.last + 1)
        had = {name: {number for number, owner in given.items() if owner == name} for name in names}
        new = [name for name in names if not had[name] & set(numbers)]
        free = [number for number in numbers if number not in given]
        if len(new) > len(free):
            with pytest.raises(Exhausted) as caught:
                allot(Path("uids"), given, names, uids)
            assert len(caught.value.without) == len(new) - len(free)
            uids = Uids(uids.first, uids.first + caught.value.least - 1)  # noqa: PLW2901  as it was told to be
            numbers = range(uids.first + 1, uids.last + 1)
        allotted = allot(Path("uids"), given, names, uids)
        assert allotted.keys() == names
        for name, number in allotted.items():
            assert number in numbers
            assert number in had[name] or (number not in given and name in new)
        assert len(set(allotted.values())) == len(names)
        given |= {number: name for name, number in allotted.items()}


def test_numbers_are_kept_in_a_file_that_an_operator_can_read_and_mend(tmp_path: Path) -> None:
    path = uids_path(tmp_path)
    assert keep_uids(path, ["shop", "mail"], Uids(200_000, 200_003)) == {"mail": 200_001, "shop": 200_002}
    assert keep_uids(path, ["shop", "new"], Uids(200_000, 200_003)) == {"shop": 200_002, "new": 200_003}
    assert read_uids(path) == {200_001: "mail", 200_002: "shop", 200_003: "new"}
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_mtime_ns
    keep_uids(path, ["mail"], Uids(200_000, 200_003))
    assert path.stat().st_mtime_ns == before
    with pytest.raises(Exhausted):
        keep_uids(path, ["shop", "other"], Uids(200_000, 200_003))
    path.write_text(path.read_text().replace("200001 mail\n", ""))
    assert keep_uids(path, ["other"], Uids(200_000, 200_003)) == {"other": 200_001}


@pytest.mark.parametrize(
    ("line", "told"),
    [("200001", "is not a number and"), ("x shop", "is not a number and"), ("200001 b", "is given twice")],
)
def test_a_file_that_was_mangled_gives_no_number(tmp_path: Path, line: str, told: str) -> None:
    """It might have been given before."""
    path = uids_path(tmp_path)
    path.write_text(f"200001 a\n{line}\n")
    with pytest.raises(UidsError, match=f"{path}:2: '{line}' {told}"):
        keep_uids(path, ["b"], Uids(200_000, 200_009))


@pytest.mark.parametrize("text", ["200000", "a-b", "200000-199999", "0-100", "5-5", "1-4294967295", "-5-10", "1-²"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a range of users: write|is no range: the first"):
        UidRange.parse(text)
    assert UidRange.parse("200000-200999").uids == Uids(200_000, 200_999)


def test_users_of_functions_pass_by_their_group_and_never_as_owners(open_path: Path) -> None:
    user = User("shop", 54321, os.getegid(), Uids(200_000, 200_999))
    folder = open_path / "a"
    folder.mkdir()
    for mode, blocks in ((0o750, None), (0o740, None), (0o710, folder), (0o705, folder), (0o700, folder)):
        folder.chmod(mode)
        assert blocking(folder, user) == blocks, oct(mode)
    if os.geteuid() == 0:
        os.chown(folder, user.uid, user.gid)
        folder.chmod(0o700)
        assert blocking(folder, user) == folder
        assert blocking(folder, user.alone) is None
        assert may_write(folder, user.alone)
        assert not may_write(folder, user)


def config(folder: Path, machine: str, functions: int = 1) -> Config:
    """Functions f0, f1 and so on, and one that keeps data."""
    (folder / "f.py").write_text("def handler(event): pass\n")
    tables = [f'[functions.f{at}]\nhandler = "f:handler"\n' for at in range(functions)]
    tables.append('[functions.keeps]\nhandler = "f:handler"\ndata = true\n')
    (folder / "forklight.toml").write_text(f"[machine]\n{machine}\n{''.join(tables)}")
    return load(folder, os.environ, folder / "state")


@pytest.mark.ordinary_user
def test_only_root_gives_functions_users(open_path: Path) -> None:
    found = config(open_path, 'uids = "200000-200999"')
    if os.geteuid() == 0:
        assert found.user
        assert found.user.uids == Uids(200_000, 200_999)
    else:
        (warning,) = found.warnings
        assert str(warning).endswith("2 machine.uids: has no effect: only root can run functions as other users")


@as_root
def test_a_range_is_for_the_zygotes_and_each_function_that_shares_no_files(open_path: Path) -> None:
    config(open_path, 'uids = "200000-200002"', functions=2)
    with pytest.raises(ConfigError) as caught:
        config(open_path, 'uids = "200000-200002"', functions=4)
    (problem,) = caught.value.problems
    assert problem.key == "machine.uids"
    assert "has 3 numbers, which leaves none for f2, f3: " in problem.message
    assert f"widen it to 5 or more, or free some of functions that are gone: {open_path}/state/uids" in problem.message
    assert not (open_path / "state/uids").exists()


@as_root
def test_a_range_with_users_of_somebody_else_is_warned_of(open_path: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    mail = pwd.getpwnam("mail").pw_uid
    with pytest.raises(ConfigError, match=f"contains {nobody}, the user 'nobody' of the functions"):
        config(open_path, f'uids = "{nobody - 5}-{nobody + 5}"\nuser = "nobody"')
    told = [warning.message for warning in config(open_path, f'uids = "{mail}-{mail + 1}"', functions=1).warnings]
    assert any(f"contains {mail}, the user 'mail', whose rights a function would have: take" in text for text in told)


@pytest.mark.parametrize(
    ("lines", "mapped"),
    [
        (["0 0 4294967295"], True),
        (["0 1000 1", "1 100000 65536"], False),
        (["0 1000 1", "1 100000 300000"], True),
        (["200050 0 1000", "0 1000 1", "200000 100000 50"], True),
        (["200000 100000 50", "200051 0 1000"], False),
    ],
)
def test_a_container_has_the_users_that_its_namespace_maps(lines: list[str], mapped: bool, tmp_path: Path) -> None:
    """uid_map of user_namespaces(7): the first number inside, the first one outside, how many."""
    (tmp_path / "map").write_text("\n".join(lines))
    assert is_mapped(Uids(200_000, 200_099), tmp_path / "map") is mapped
