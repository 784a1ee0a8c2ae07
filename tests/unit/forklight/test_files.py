"""Which files are code, and their copies."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from forklight.code.files import collect, collect_all, copy, digest_of
from forklight.code.selection import CodeError, select
from forklight.code.snapshots import staged


def _write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def _names(code: Path, apart: frozenset[Path] = frozenset()) -> list[str]:
    return [file.name for file in collect(code, apart)]


def _folders(code: Path, apart: frozenset[Path] = frozenset()) -> set[Path]:
    return select(code, apart).places()[0]


def test_what_stays_out(tmp_path: Path) -> None:
    _write(tmp_path, "a.py", "pkg/b.py", "pkg/data.txt", "pkg/__pycache__/b.pyc", ".git/config", ".hidden")
    _write(tmp_path, "venv/pyvenv.cfg", "venv/lib/x.py", "var/state/versions/a.py", ".forklight/x", "big/x", "big/y.py")
    _write(tmp_path, ".forklightignore", "secret")
    (tmp_path / ".forklightignore").write_text("big/*\n!big/y.py\n.forklightignore\n/outside\n")
    (tmp_path / "outside").symlink_to("/etc")
    (tmp_path / "pkg/linked").symlink_to("../secret")
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        names = _names(tmp_path, frozenset({tmp_path / "var/state", tmp_path / "secret", Path("/etc/passwd")}))
    assert names == [".hidden", "a.py", "big/y.py", "pkg/b.py", "pkg/data.txt"]


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n"
PRIVATE = (
    *(
        ".env",
        ".env.production",
        ".envrc",
        "tls/server.key",
        "tls/server.pem",
        "tls/both.pem",
        "a/b/client.p12",
        "x.pfx",
    ),
    *("id_rsa", "keys/id_ed25519", ".netrc", ".pypirc", ".git-credentials", ".ssh/config", ".aws/credentials"),
)
PUBLIC = ("a.py", "env.py", "environment", "id_rsa.pub", "key.py", "lib/certifi/cacert.pem", "keyboard.txt")


def test_what_may_be_secret_stays_out_unless_it_is_taken_back_in(tmp_path: Path) -> None:
    _write(tmp_path, *PRIVATE, *PUBLIC)
    (tmp_path / "lib/certifi/cacert.pem").write_text(CERTIFICATE * 3)
    (tmp_path / "tls/both.pem").write_text(CERTIFICATE + KEY)
    (tmp_path / "settings.txt").symlink_to(".env")
    assert _names(tmp_path) == sorted(PUBLIC)
    folded = {name.partition("/")[0] + "/" if name.startswith((".ssh", ".aws")) else name for name in PRIVATE}
    assert collect_all(tmp_path)[1].private == tuple(sorted({*folded, "settings.txt"}))

    (tmp_path / ".forklightignore").write_text("!tls/*.key\n!.aws\nid_rsa\n.forklightignore\n")
    assert set(_names(tmp_path)) - set(PUBLIC) == {"tls/server.key", ".aws/credentials"}
    assert {"id_rsa", "tls/server.key", ".aws/"}.isdisjoint(collect_all(tmp_path)[1].private)


def test_a_folder_that_stays_out_is_not_watched(tmp_path: Path) -> None:
    _write(tmp_path, "a.py", ".ssh/config", "tls/server.key")
    assert _folders(tmp_path) == {tmp_path, tmp_path / "tls"}


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_the_process_logs_to_stays_out(tmp_path: Path, stream: str) -> None:
    _write(tmp_path, "a.py")
    program = (
        "import sys; from pathlib import Path; from forklight.code.files import collect;"
        "print([file.name for file in collect(Path(sys.argv[1]))], file=getattr(sys, sys.argv[2]))"
    )
    log = tmp_path / "log"
    with log.open("wb") as to:
        line = [sys.executable, "-c", program, str(tmp_path), stream]
        stdout, stderr = (to, None) if stream == "stdout" else (None, to)
        subprocess.run(line, check=True, cwd=Path(__file__).parents[3], stdout=stdout, stderr=stderr)
    assert log.read_text() == "['a.py']\n"


def test_the_folders_that_code_may_lie_in(tmp_path: Path) -> None:
    _write(tmp_path, "a.py", "pkg/b.py", "pkg/__pycache__/b.pyc", ".git/config", "venv/pyvenv.cfg", "venv/lib/x.py")
    _write(tmp_path, "big/y.py", "state/versions/a.py")
    (tmp_path / "empty/inner").mkdir(parents=True)
    (tmp_path / ".forklightignore").write_text("big/\n")
    found = _folders(tmp_path, frozenset({tmp_path / "state"}))
    assert {str(folder.relative_to(tmp_path)) for folder in found} == {".", "pkg", "empty", "empty/inner"}


def test_beside_a_single_file_only_packages_are_code(tmp_path: Path) -> None:
    _write(tmp_path, "hello.py", "pkg/__init__.py", "pkg/sub/data.txt", "folder/x.py")
    found = _folders(tmp_path / "hello.py")
    assert {str(folder.relative_to(tmp_path)) for folder in found} == {".", "pkg", "pkg/sub"}


def test_a_single_file_brings_the_modules_and_packages_beside_it(tmp_path: Path) -> None:
    _write(tmp_path, "hello.py", "other.py", "notes.txt", "pkg/__init__.py", "pkg/sub/data.txt", "folder/x.py")
    assert _names(tmp_path / "hello.py") == ["hello.py", "other.py", "pkg/__init__.py", "pkg/sub/data.txt"]


def test_links_within_the_code_become_what_they_point_to(tmp_path: Path) -> None:
    _write(tmp_path, "pkg/a.py", "data/x")
    (tmp_path / "b.py").symlink_to("pkg/a.py")
    (tmp_path / "pkg/data").symlink_to(tmp_path / "data")
    files = {file.name: file.path for file in collect(tmp_path)}
    assert files["b.py"] == tmp_path / "pkg/a.py"
    assert files["pkg/data/x"] == tmp_path / "data/x"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/etc/passwd", "link is a link out of the code, to /etc/passwd: copy that"),
        ("../..", "link is a link out of the code"),
        ("nothing", "link is a link that leads nowhere: remove it"),
        ("..", "link is a link to a folder it lies in: the code would never end"),
        (".", "link is a link to a folder it lies in: the code would never end"),
    ],
)
def test_links_that_cannot_be_followed(tmp_path: Path, target: str, message: str) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/link").symlink_to(target)
    with pytest.raises(CodeError, match=message):
        collect(tmp_path)


def test_more_than_250_mb_is_refused_with_the_biggest_folders(tmp_path: Path) -> None:
    for name, size_mb in (("a/b/c/x", 100), ("a/b/y", 60), ("z", 90), ("d/x", 1)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size_mb * 1_000_000)
    message = r"holds 251 MB, more than 250 MB: most of it in a/b \(160 MB\), \. \(90 MB\), d \(1 MB\); list what"
    with pytest.raises(CodeError, match=message):
        collect(tmp_path)
    (tmp_path / ".forklightignore").write_text("z\n")
    assert _names(tmp_path) == [".forklightignore", "a/b/c/x", "a/b/y", "d/x"]


def test_an_ignore_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / ".forklightignore").write_text("\n[z-a]")
    with pytest.raises(CodeError, match=r"\.forklightignore: line 2 is not a valid pattern"):
        collect(tmp_path)
    (tmp_path / ".forklightignore").write_bytes(b"\xff")
    with pytest.raises(CodeError, match=r"\.forklightignore is not valid UTF-8"):
        collect(tmp_path)


def _digest(code: Path, target: Path) -> str:
    return digest_of(copy(collect(code), target, code))


def test_a_copy_is_faithful_and_its_digest_sees_names_modes_and_contents(tmp_path: Path) -> None:
    code = tmp_path / "code"
    _write(code, "a/b.py", "run")
    (code / "run").chmod(0o755)
    first = _digest(code, tmp_path / "1")
    assert (tmp_path / "1/a/b.py").read_text() == "a/b.py"
    assert os.access(tmp_path / "1/run", os.X_OK)
    os.utime(code / "run", (0, 0))
    assert _digest(code, tmp_path / "2") == first
    digests = {first}
    for change in (
        lambda: (code / "run").chmod(0o644),
        lambda: (code / "run").write_text("ruN"),
        lambda: (code / "run").rename(code / "walk"),
        (code / "empty").touch,
    ):
        change()
        digests.add(_digest(code, tmp_path / str(len(digests) + 2)))
    assert len(digests) == 5


def test_a_file_that_keeps_changing_is_refused(tmp_path: Path) -> None:
    code = tmp_path / "code"
    _write(code, "a.py")
    os.truncate(code / "a.py", 64_000_000)
    is_over = threading.Event()

    def touch() -> None:
        while not is_over.is_set():
            os.utime(code / "a.py")

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        with pytest.raises(CodeError, match="changes while it is read: try again when it is written"):
            _digest(code, tmp_path / "copy")
    finally:
        is_over.set()
        toucher.join()


def test_a_folder_swapped_for_a_link_after_the_listing_is_noticed(tmp_path: Path) -> None:
    code = tmp_path / "code"
    _write(code, "pkg/passwd")
    files = collect(code)
    (code / "pkg").rename(tmp_path / "away")
    (code / "pkg").symlink_to("/etc")
    with pytest.raises(CodeError, match="became something else while the code was read"):
        copy(files, tmp_path / "copy", code)
    (code / "pkg").unlink()
    with pytest.raises(CodeError, match="vanished while the code was read"):
        copy(files, tmp_path / "copy", code)


def test_a_file_that_vanishes_while_the_code_is_copied_was_a_temporary_one(tmp_path: Path) -> None:
    code, snapshots = tmp_path / "code", tmp_path / "snapshots"
    _write(code, *(f"a{number:03}.txt" for number in range(400)), "z.txt.X1Y2Z3")
    snapshots.mkdir()

    def remove_once_copying_has_begun() -> None:
        while not list(snapshots.glob("*/a000.txt")):
            pass
        (code / "z.txt.X1Y2Z3").unlink()

    remover = threading.Thread(target=remove_once_copying_has_begun)
    remover.start()
    with staged(code, frozenset(), snapshots) as stage:
        remover.join()
        assert len(list(stage.path.iterdir())) == 400
    assert not list(snapshots.iterdir())
