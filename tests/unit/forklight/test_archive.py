"""Code in a zip: what is taken, and what is refused with the name of the member."""

import stat
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from forklight.code.archive import opened
from forklight.code.examine import name_problem
from forklight.code.files import MOST_BYTES, collect, copy
from forklight.code.selection import CodeError
from forklight.config.configuration import load
from forklight.serving.versions import make_versions
from forklight.state.directory import open_state
from forklight.state.users import unprivileged_user
from tests.kit.zips import make_zip

LINK = stat.S_IFLNK | 0o777


def _zip(path: Path, *members: tuple[str, str, int]) -> Path:
    """A zip of (name, content, mode)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def _refusal(code: Path) -> str:
    with pytest.raises(CodeError) as refused, opened(code) as folder:
        collect(folder)
    return str(refused.value).replace(str(code), "app.zip")


def test_a_zip_is_the_same_code_as_the_directory_it_was_made_of(open_path: Path) -> None:
    code = open_path / "code"
    (code / "pkg").mkdir(parents=True)
    (code / "f.py").write_text("def handler(event): ...\n")
    (code / "pkg/run").write_text("#!/bin/sh\n")
    (code / "pkg/run").chmod(0o755)
    members = [("f.py", "def handler(event): ...\n", 0o644), ("pkg/", "", 0o755), ("pkg/run", "#!/bin/sh\n", 0o755)]
    archive = _zip(open_path / "app.zip", *members, ("__pycache__/x.pyc", "", 0o644), ("link", "", 0o644))
    (code / "link").touch()
    with opened(archive) as folder:
        assert copy(collect(folder), open_path / "1", folder) == copy(collect(code), open_path / "2", code)
    assert not folder.exists()


def test_its_version_is_what_it_holds_and_it_is_unpacked_in_the_snapshot(open_path: Path) -> None:
    (open_path / "forklight.toml").write_text('[functions.f]\nhandler = "f:handler"\ncode = "app.zip"\n')
    _zip(open_path / "app.zip", ("f.py", "def handler(event): ...\n", 0o644))
    config = load(open_path, {})
    with open_state(open_path / "state", unprivileged_user()) as state:
        spec = make_versions(config, state).specs["f"]
        assert sorted(path.name for path in spec.code.iterdir()) == ["__pycache__", "f.py"]
        _zip(open_path / "app.zip", ("f.py", "def handler(event): ...\n", 0o600))
        assert make_versions(config, state).specs["f"].version == spec.version
        _zip(open_path / "app.zip", ("f.py", "def handler(event): pass\n", 0o644))
        assert make_versions(config, state).specs["f"].version != spec.version
        directory = replace(config.functions["f"], code=spec.code)
        assert make_versions(replace(config, functions={"f": directory}), state).specs["f"].version == spec.version
        assert all(not path.name.startswith(".new") for path in state.versions.iterdir())


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("/etc/passwd", "is absolute"),
        ("../x.py", "leads out of the zip"),
        ("a/../../x.py", "leads out of the zip"),
        ("a/..", "leads out of the zip"),
        ("a\\b.py", "is written with a backslash: make the zip with slashes"),
        ("a//b.py", "is not a file name"),
        ("./b.py", "is not a file name"),
        ("a/" * 500 + "b.py", "lies in more than 99 folders"),
    ],
)
def test_a_member_with_a_name_that_is_not_safe(tmp_path: Path, name: str, problem: str) -> None:
    assert name_problem(name) == problem
    code = _zip(tmp_path / "a.zip", ("f.py", "", 0o644), (name, "", 0o644))
    assert _refusal(code) == f"app.zip: the member {name!r} {problem}"
    assert list(tmp_path.iterdir()) == [code]


@pytest.mark.parametrize("name", ["a.py", "a/b.py", "a/", "..a/b..", ".hidden"])
def test_names_that_are_safe(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/etc/passwd", "app.zip/link is a link out of the code, to /etc/passwd: copy that"),
        ("../..", "app.zip/link is a link out of the code"),
        ("none", "app.zip/link is a link that leads nowhere: remove it"),
        (".", "app.zip/link is a link to a folder it lies in"),
    ],
)
def test_links_are_followed_within_the_zip_only(tmp_path: Path, target: str, message: str) -> None:
    assert message in _refusal(_zip(tmp_path / "a.zip", ("link", target, LINK)))
    with opened(_zip(tmp_path / "b.zip", ("link", "f.py", LINK), ("f.py", "x", 0o644))) as folder:
        assert [file.name for file in collect(folder)] == ["f.py", "link"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    code = _zip(tmp_path / "a.zip", ("link", str(tmp_path / "outside"), LINK), ("link/x", "", 0o644))
    assert _refusal(code) == "app.zip: the member 'link/x' lies in 'link', which is not a folder"
    assert list((tmp_path / "outside").iterdir()) == []


def test_two_members_in_one_place(tmp_path: Path) -> None:
    assert "the member 'a/b' lies in 'a', which is not a folder" in _refusal(
        _zip(tmp_path / "a.zip", ("a", "", 0o644), ("a/b", "", 0o644))
    )
    with pytest.warns(UserWarning, match="Duplicate name"):
        code = _zip(tmp_path / "b.zip", ("a", "1", 0o644), ("a", "2", 0o644))
    assert _refusal(code) == "app.zip: the member 'a' is there twice"


def test_what_is_no_good_zip(tmp_path: Path) -> None:
    code = tmp_path / "app.zip"
    code.write_bytes(b"PK")
    assert _refusal(code) == "app.zip is not a zip file, or is damaged: File is not a zip file"
    content = _zip(code, ("f.py", "x" * 1000, 0o644)).read_bytes()
    damaged = bytearray(content)
    damaged[40] ^= 0xFF
    code.write_bytes(damaged)
    assert _refusal(code).startswith("app.zip: the member 'f.py' cannot be unpacked: ")
    code.write_bytes(content.replace(b"\x00\x00\x08\x00", b"\x01\x00\x08\x00"))
    assert _refusal(code) == "app.zip: the member 'f.py' is encrypted: make the zip without a password"


def test_more_than_250_mb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    code = tmp_path / "app.zip"
    with zipfile.ZipFile(code, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("big", "w") as member:
        for _ in range(MOST_BYTES // 10_000_000 + 1):
            member.write(bytes(10_000_000))
    assert _refusal(code) == "app.zip holds 260 MB, more than 250 MB; the biggest member is 'big' (260 MB)"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_bytes_are_those_of_a_member_however_they_are_packed(tmp_path: Path, method: int) -> None:
    content = make_zip(("f.py", b"x = 1\n" * 100), method=method)
    code, start, end = tmp_path / "app.zip", 30 + len("f.py"), content.index(b"PK\x01\x02")
    for at in range(start + (end - start) // 2, end, 5 if end - start < 100 else 50):
        code.write_bytes(content[:at] + bytes([content[at] ^ 0x5A]) + content[at + 1 :])
        assert _refusal(code).startswith("app.zip: the member 'f.py' cannot be unpacked: ")
