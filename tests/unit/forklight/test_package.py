"""The package of an application: what is in it, and that the same files make the same package."""

import os
import shutil
import tempfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forklight.code.files import collect, contents_of
from forklight.code.selection import CodeError
from forklight.packages.errors import PackageError
from forklight.packages.package import Built, build
from forklight.packages.store import PackageStore

_PARTS = st.text("abzä. -_", min_size=1, max_size=6).filter(lambda one: one.strip(".") != "")
_CONTENT = st.tuples(st.binary(max_size=200), st.booleans())
_FILES = st.dictionaries(st.lists(_PARTS, min_size=1, max_size=3).map("/".join), _CONTENT, max_size=8)


def _written(folder: Path, files: dict[str, tuple[bytes, bool]]) -> Path:
    for name, (content, is_executable) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if is_executable else 0o640)
        os.utime(path, (len(content), hash(folder) % 10**9))
    return folder


def _is_tree(files: dict[str, tuple[bytes, bool]]) -> bool:
    return not any(other.startswith(f"{name}/") for name in files for other in files)


@given(_FILES.filter(_is_tree))
@settings(max_examples=25)
@pytest.mark.invariant("I50")
def test_the_same_files_make_the_same_package_and_come_out_as_they_were(files: dict[str, tuple[bytes, bool]]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        (root / "1").mkdir()
        (root / "2").mkdir()
        _written(root / "1", files)
        _written(root / "2", dict(reversed(files.items())))
        built = build(root / "1", root / "1.zip")
        assert build(root / "2", root / "2.zip") == built
        assert (root / "1.zip").read_bytes() == (root / "2.zip").read_bytes()
        store = PackageStore(root)
        store.append(built.sha256, 0, (root / "1.zip").read_bytes())
        store.finish(built.sha256)
        code = store.unpacked(built.sha256)
        assert store.check() == []
        assert contents_of(collect(code), code) == contents_of(collect(root / "1"), root / "1")
    finally:
        shutil.rmtree(root)


def _application(folder: Path) -> Path:
    named = (
        "forklight.toml",
        "app/a.py",
        "app/tests/x.py",
        "prod.env",
        ".env",
        "key.txt",
        "app/k.pem",
        "b.py",
        "c/d.py",
    )
    return _written(folder, {name: (name.encode(), False) for name in named})


def _names(built: Built) -> set[str]:
    return set(built.files)


def test_it_holds_what_snapshots_take_and_what_the_configuration_names(tmp_path: Path) -> None:
    folder = _application(tmp_path / "shop")
    (folder / "app/.forklightignore").write_text("tests/\n")
    (folder / "app/link.py").symlink_to("a.py")
    (folder / "lib.zip").write_bytes(b"")
    also, apart = [folder / "forklight.toml", folder / ".env"], {folder / "key.txt", folder / "forklight.toml"}
    target = folder / "app/new.zip"
    built = build(folder, target, code=[folder / "app", folder / "lib.zip"], also=also, apart=apart)
    code = {"app/.forklightignore", "app/a.py", "app/link.py"}
    assert _names(built) == {"forklight.toml", ".env", "lib.zip"} | code
    with ZipFile(target) as package:
        assert package.read("app/link.py") == b"app/a.py"
        assert {member.external_attr >> 16 for member in package.infolist()} == {0o100644}
    single = build(folder, target, code=[folder / "c/d.py"], apart=apart)
    assert _names(single) == {"c/d.py"}
    whole = build(folder, target, also=also, apart=apart)
    assert _names(whole) == code | {"forklight.toml", ".env", "app/tests/x.py", "lib.zip", "prod.env", "b.py", "c/d.py"}


def test_what_lies_outside_or_has_no_usable_name_is_refused_by_name(tmp_path: Path) -> None:
    folder = _application(tmp_path / "shop")
    target = tmp_path / "new.zip"
    (tmp_path / "other").mkdir()
    (folder / "linked").symlink_to(tmp_path / "other")
    (folder / "bad").mkdir()
    (folder / "bad" / "a\nb").touch()
    (folder / "raw").mkdir()
    Path(os.fsdecode(os.fsencode(folder / "raw") + b"/\xff")).touch()
    for place, message in [
        ("../other", f"{tmp_path / 'other'}, which is outside of the application {folder}: copy it there"),
        ("linked", f"{folder / 'linked'} is a link to {tmp_path / 'other'}, which is outside"),
        ("bad", r"the file 'bad/a\nb' has a control character in its name: rename it, or leave it out"),
        ("raw", r"the name of the file 'raw/\udcff' is not UTF-8"),
    ]:
        with pytest.raises(PackageError) as refused:
            build(folder, target, code=[folder / place])
        assert message in str(refused.value)
    with pytest.raises(CodeError, match="linked is a link out of the code"):
        build(folder, target)
    assert not target.exists()
