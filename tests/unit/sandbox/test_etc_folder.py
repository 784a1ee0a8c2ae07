"""The copy of /etc for boxes has what everybody may read, follows changes, and goes with the server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import etc_folder
from sandbox.etc_folder import EtcFolder


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for /etc."""
    folder = tmp_path / "etc"
    (folder / "ssl" / "certs").mkdir(parents=True)
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    (folder / "resolv.conf").symlink_to(tmp_path / "run")
    (tmp_path / "run").write_text("nameserver 127.0.0.53\n")
    (folder / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    (folder / "krb5.conf").write_text("secret")
    (folder / "krb5.conf").chmod(0o600)
    (folder / "shadow").write_text("not on the list")
    monkeypatch.setattr(etc_folder, "_ETC", folder)
    return folder


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[EtcFolder]:
    made = EtcFolder(tmp_path)
    yield made
    made.remove()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".etc-")]


def test_it_has_what_everybody_may_read_of_what_is_listed(etc: Path, copies: EtcFolder) -> None:
    copy = copies.refresh()

    listed = {"hosts", "resolv.conf", "ssl"} | (
        {"localtime"} if os.path.exists("/usr/share/zoneinfo/Europe") else set()
    )
    assert set(os.listdir(copy)) == listed
    assert os.listdir(copy / "ssl") == ["certs"]
    assert (copy / "resolv.conf").read_text() == "nameserver 127.0.0.53\n"
    assert not (copy / "resolv.conf").is_symlink()
    assert {oct((copy / name).stat().st_mode & 0o777) for name in ("hosts", "ssl/certs")} == {"0o644", "0o755"}


def test_it_follows_changes_and_is_otherwise_left_alone(etc: Path, tmp_path: Path, copies: EtcFolder) -> None:
    copy = copies.refresh()
    before = (copy / "hosts").stat().st_ino
    assert copies.current == copy
    (tmp_path / "run").write_text("nameserver 9.9.9.9\n")
    assert copies.current is None
    (etc / "services").write_text("http 80/tcp\n")
    (etc / "ssl" / "certs").rmdir()
    assert copies.refresh() == copy

    assert (copy / "resolv.conf").read_text() == "nameserver 9.9.9.9\n"
    assert (copy / "services").exists()
    assert not (copy / "ssl" / "certs").exists()
    assert (copy / "hosts").stat().st_ino == before
    assert not [name for name in os.listdir(copy) if name.startswith(".")]


def test_a_file_and_a_folder_may_take_turns(etc: Path, copies: EtcFolder) -> None:
    copy = copies.refresh()
    (etc / "ssl" / "certs").rmdir()
    (etc / "ssl" / "certs").write_text("one file")
    copies.refresh()
    assert (copy / "ssl" / "certs").read_text() == "one file"
    (etc / "ssl" / "certs").unlink()
    (etc / "ssl" / "certs").mkdir()
    copies.refresh()
    assert (copy / "ssl" / "certs").is_dir()


def test_it_is_made_again_if_it_is_gone(etc: Path, copies: EtcFolder) -> None:
    first = copies.refresh()
    copies.remove()
    first.mkdir()
    first.rmdir()
    second = copies.refresh()

    assert (second / "hosts").exists()
    assert copies.current == second
