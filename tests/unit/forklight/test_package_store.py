"""The store of packages: uploads in pieces, refusals by name, what is removed, what the doctor finds."""

import errno
import os
import stat
import struct
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forklight.code.archive import unpack
from forklight.code.selection import CodeError
from forklight.packages.errors import MissingPackage, PackageError, PackageRefused, PackageTooLarge, WrongOffset
from forklight.packages.room import refusal
from forklight.packages.store import PackageStore, StoreBounds
from forklight.state.directory import remove_tree
from tests.kit.zips import make_zip, name_of, put

PIPE, SOCKET, DEVICE, LINK = (kind | 0o644 for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK, stat.S_IFLNK))


def test_an_upload_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    content = make_zip(("forklight.toml", b"x" * 1000), ("bin/run", b"y", 0o755))
    name, store = name_of(content), PackageStore(tmp_path)
    assert store.received(name) == 0
    assert not store.has(name)
    with pytest.raises(MissingPackage):
        store.finish(name)
    assert store.append(name, 0, content[:10]) == 10
    store = PackageStore(tmp_path)  # of the next process
    with pytest.raises(WrongOffset, match="10 bytes are here: go on from there") as wrong:
        store.append(name, 0, content)
    assert wrong.value.received == store.received(name) == 10
    assert store.append(name, 10, content[10:]) == len(content)
    package = store.finish(name)
    assert package == store.path(name) == store.finish(name)
    assert package.read_bytes() == content
    assert stat.S_IMODE(package.stat().st_mode) == 0o600
    assert (store.has(name), store.received(name)) == (True, 0)
    folder = store.unpacked(name)
    assert (folder / "forklight.toml").read_bytes() == b"x" * 1000
    assert os.access(folder / "bin/run", os.X_OK)


def test_what_is_not_what_its_name_says_is_dropped(tmp_path: Path) -> None:
    content = make_zip(("a", b"1"))
    name, store = name_of(content), PackageStore(tmp_path, StoreBounds(package_bytes=1000))
    store.append(name, 0, content + b"?")
    with pytest.raises(PackageRefused, match=f"not {name}: send them again"):
        store.finish(name)
    assert store.received(name) == 0
    with pytest.raises(PackageTooLarge, match="more than 0 MB"):
        store.append(name, 0, bytes(1001))
    for bad in ("", "../../etc/passwd", name.upper(), name + "0"):
        with pytest.raises(PackageError, match="is not the name of a package"):
            store.received(bad)
    assert not list(store.packages.glob("*.zip"))


def _claiming(content: bytes, size_bytes: int) -> bytes:
    """The zip of one member whose headers claim another size."""
    at = content.index(b"PK\x01\x02")
    put = struct.pack("<I", size_bytes)
    return content[:22] + put + content[26 : at + 24] + put + content[at + 28 :]


def _overlapping(count: int) -> bytes:
    """A zip whose directory names one member's bytes many times."""
    content = make_zip(("a000", os.urandom(5000)))
    at, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[at:end]
    directory = b"".join(entry.replace(b"a000", b"a%03d" % one) for one in range(count))
    return content[:at] + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), at, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (make_zip(("../x", b"")), "the member '../x' leads out of the zip"),
        (make_zip(("/etc/cron.d/x", b"")), "the member '/etc/cron.d/x' is absolute"),
        (make_zip(("a\0b", b"")), r"the member 'a\x00b' has a control character"),
        (make_zip(("a\x1b[2J", b"")), r"the member 'a\x1b[2J' has a control character"),
        (make_zip(("gpj\u202eyp.", b"")), "has a control character"),
        (make_zip(("a" * 256, b"")), "has a name that is too long"),
        (make_zip(("/".join(["a" * 200] * 6), b"")), "has a name that is too long"),
        (make_zip(("a", b""), ("a/", b"")), "the member 'a/' is there twice"),
        (make_zip(("a", b""), ("a/b/c", b"")), "the member 'a/b/c' lies in 'a', which is not a folder"),
        (make_zip(("sda", b"", DEVICE)), "the member 'sda' is a device file"),
        (make_zip(("fifo", b"", PIPE)), "the member 'fifo' is a named pipe"),
        (make_zip(("bus", b"", SOCKET)), "the member 'bus' is a socket"),
        (make_zip(("a", bytes(2_000_000))), "holds 2 MB, more than 1 MB; the biggest member is 'a' (2 MB)"),
        (_claiming(make_zip(("a", b"1")), 900_000), "says that 3 bytes unpack to 900000, which no zip can"),
        (_claiming(make_zip(("a", b"1"), method=ZIP_STORED), 9), "has two sizes"),
        (_overlapping(50), "is a bomb: its members share their bytes"),
        (b"PK\x01\x02" * 100_001, "has more than 100000 members"),
        (b"PK" * 100, "is not a zip file, or is damaged"),
    ],
)
def test_a_package_that_may_not_be_unpacked_is_refused_byname_of(tmp_path: Path, content: bytes, message: str) -> None:
    store = PackageStore(tmp_path, StoreBounds(unpacked_bytes=1_000_000))
    with pytest.raises(PackageRefused) as refused:
        put(store, content)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"the package {name_of(content)[:12]}")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (make_zip(("link", b"/etc", LINK)), "the member 'link' is a link, and a package has none"),
        (make_zip(("a", b"1", 0o644), method=ZIP_BZIP2), "the member 'a' is neither stored nor deflated"),
        (
            make_zip(("a", b"12345"), method=ZIP_STORED).replace(b"12345", b"12346"),
            "the member 'a' cannot be unpacked: Bad CRC",
        ),
    ],
)
def test_an_application_s_package_holds_files_only(tmp_path: Path, content: bytes, message: str) -> None:
    store = PackageStore(tmp_path)
    name = put(store, content)
    with pytest.raises(PackageRefused, match=message):
        store.unpacked(name)
    assert list(store.folders.iterdir()) == []


@given(st.binary(max_size=40), st.integers(0, 400), st.sampled_from([ZIP_STORED, ZIP_DEFLATED]))
@pytest.mark.invariant("I51")
def test_whatever_a_zip_says_nothing_is_written_outside_of_its_folder(noise: bytes, at: int, method: int) -> None:
    members = (("a/b.txt", b"x" * 50), ("../evil", b"y"), ("/abs", b"z"), ("l", b"../../..", LINK), ("l/c", b"w"))
    honest = make_zip(*members[: 1 + at % len(members)], method=method)
    content = honest[:at] + noise + honest[at + len(noise) :]
    root = Path(tempfile.mkdtemp())
    try:
        (root / "zip").write_bytes(content)
        (root / "in").mkdir()
        with suppress(CodeError):
            unpack(root / "zip", root / "in")
        assert sorted(path.name for path in root.iterdir()) == ["in", "zip"]
    finally:
        remove_tree(root)


def test_an_unpacked_folder_of_an_earlier_boot_is_made_again(tmp_path: Path) -> None:
    store = PackageStore(tmp_path)
    name = put(store, make_zip(("a", b"1" * 100)))
    folder = store.unpacked(name)
    (folder / "a").write_bytes(b"")
    assert store.unpacked(name) == folder
    assert not (folder / "a").read_bytes()
    (store.folders / f"{name}.boot").write_text("another")
    assert (store.unpacked(name) / "a").read_bytes() == b"1" * 100
    with pytest.raises(MissingPackage, match="is not here: deploy it again"):
        store.unpacked(name_of(b""))


def test_what_no_one_needs_is_removed_unless_it_has_just_come(tmp_path: Path) -> None:
    store = PackageStore(tmp_path)
    assert store.remove_unused(set()) == 0
    kept, old, new = (put(store, make_zip(("a", content))) for content in (b"1", b"2", b"3"))
    for name in (kept, old):
        store.unpacked(name)
        os.utime(store.path(name), (0, 0))
    store.append(name_of(b"old"), 0, b"o")
    os.utime(store.incoming / f"{name_of(b'old')}.part", (0, 0))
    store.append(name_of(b"new"), 0, b"n")
    (store.folders / ".new-x").mkdir()
    size_bytes = store.path(old).stat().st_size
    assert store.remove_unused({kept}) == size_bytes
    assert {path.stem for path in store.packages.glob("*.zip")} == {kept, new}
    assert sorted(path.name for path in store.folders.iterdir()) == sorted([".new-x", kept, f"{kept}.boot"])
    assert [path.stem for path in store.incoming.iterdir()] == [name_of(b"new")]
    os.utime(store.path(new), (0, 0))
    assert store.has(new)
    assert store.path(new).stat().st_mtime > time.time() - 60
    assert store.remove_unused(set(), grace_s=-1) > 0
    assert list(store.folders.iterdir()) == list(store.packages.glob("*.zip")) == []


def test_the_check_names_what_is_damaged(tmp_path: Path) -> None:
    store = PackageStore(tmp_path)
    assert store.check() == []
    good, bad = put(store, make_zip(("a", b"1"), ("b/", b""))), put(store, make_zip(("a", b"2")))
    store.unpacked(good)
    assert store.check() == []
    (store.unpacked(good) / "a").write_bytes(b"changed")
    store.path(bad).write_bytes(b"changed")
    (store.packages / "mine.zip").touch()
    folder = store.folders / good
    assert sorted(store.check()) == sorted(
        [
            f"{store.path(bad)} is damaged: remove it, and deploy or pull it again",
            f"{folder} differs from its package in a: remove the folder, it will be made again",
            f"{store.packages / 'mine.zip'} is not a package: remove it",
        ]
    )


def test_what_a_full_disk_refuses_names_the_disk() -> None:
    state, full = Path("/srv/state"), os.strerror(errno.ENOSPC)
    remedy = "free some room on the disk of"
    assert refusal(OSError(errno.ENOSPC, full), state) == f"{full}: {remedy} /srv/state, then do it again"
    elsewhere = OSError(errno.ENOSPC, full, "/tmp/x")
    assert refusal(elsewhere, state) == f"/tmp/x: {full}: {remedy} /tmp/x, then do it again"
    assert refusal(PermissionError(errno.EACCES, "Permission denied", "/a"), state) == "/a: Permission denied"
