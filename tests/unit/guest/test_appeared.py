"""Which imports of a call a template can repeat, and what a rehearsal does with them."""

import importlib.util
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.guest._forklight import appeared, logs, rehearsal, wire


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path`; its modules are forgotten afterwards."""
    folder = tmp_path / "library"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(logs, "flush", lambda: None)  # its streams are those of a guest
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        del sys.modules[name]


def names_of(watch: appeared.Watch) -> list[str]:
    frames = wire.Frames()
    frames.feed(b"".join(watch.frame()))
    header, body = frames.next() or ({}, b"")
    assert (header["t"], body) == ("learnt", b"")
    modules: list[str] = json.loads(json.dumps(header["modules"]))
    return modules


def test_modules_appear_in_the_order_in_which_their_imports_began(library: Path, tmp_path: Path) -> None:
    (library / "outer_one.py").write_text("import inner_one\n")
    (library / "inner_one.py").touch()
    (library / "pack").mkdir()
    (library / "pack" / "__init__.py").touch()
    (library / "pack" / "part.py").touch()
    watch = appeared.Watch(str(tmp_path / "code"), "libraries")
    import outer_one  # type: ignore[import-not-found]  # noqa: F401
    import pack.part  # type: ignore[import-not-found]  # noqa: F401

    with pytest.raises(ImportError):
        import absent_one  # type: ignore[import-not-found]  # noqa: F401
    assert names_of(watch) == ["outer_one", "inner_one", "pack", "pack.part"]
    assert watch not in sys.meta_path


@pytest.mark.parametrize(("scope", "found"), [("libraries", []), ("all", ["own_one"])])
def test_modules_of_the_functions_folder_count_only_if_asked(library: Path, scope: str, found: list[str]) -> None:
    (library / "own_one.py").touch()
    watch = appeared.Watch(str(library), scope)
    __import__("own_one")
    assert names_of(watch) == found


def test_what_a_template_could_not_find_again_is_left_out(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("by_path", "late_path", "größe"):
        (elsewhere / f"{name}.py").touch()
    (library / "by_path.py").touch()  # another file of the same name
    (library / "größe.py").touch()
    watch = appeared.Watch(str(tmp_path / "code"), "libraries")
    spec = importlib.util.spec_from_file_location("by_path", elsewhere / "by_path.py")
    assert spec is not None
    watch.find_spec("by_path", None)
    sys.modules["by_path"] = importlib.util.module_from_spec(spec)
    watch.find_spec("made", None)
    sys.modules["made"] = types.ModuleType("made")
    watch.find_spec("odd", None)
    sys.modules["odd"] = object()  # type: ignore[assignment]
    monkeypatch.syspath_prepend(elsewhere)  # as a handler does
    __import__("late_path")
    __import__("größe")
    assert names_of(watch) == []


def test_a_rehearsal_imports_in_order_and_names_what_it_had_to(library: Path, tmp_path: Path) -> None:
    (library / "outer_two.py").write_text("import inner_two\nprint('unheard')\n")
    (library / "inner_two.py").touch()
    (library / "owned.py").touch()
    (tmp_path / "owned.py").touch()
    names = ["outer_two", "inner_two", "absent_two", "owned"]
    done = rehearsal.rehearse(names, (), str(tmp_path), "libraries")

    assert done.modules == ["outer_two"]
    assert list(done.left_out) == ["absent_two"]
    assert done.spoilt == "", "an import that found nothing has done nothing"
    assert "owned" not in sys.modules
    assert rehearsal.rehearse(["owned"], (), str(tmp_path), "all").modules == ["owned"]


def test_a_rehearsal_that_leaves_anything_behind_is_spoilt(library: Path, tmp_path: Path) -> None:
    (library / "halfway.py").write_text("import before_it\nraise ValueError('\\x1b no \\u00fc' + 'x' * 1000)\n")
    (library / "before_it.py").touch()
    (library / "starts.py").write_text(
        "import threading\nEND = threading.Event()\nthreading.Thread(target=END.wait, daemon=True).start()\n"
    )
    (library / "opens_it.py").write_text("import os\nENDS = os.pipe()\n")
    (library / "leaves.py").write_text("raise SystemExit(3)\n")
    done = rehearsal.rehearse(["halfway", "starts", "opens_it", "leaves"], (), str(tmp_path), "libraries")
    sys.modules["starts"].END.set()

    assert done.modules == []
    assert done.left_out["halfway"].startswith(r"ValueError: \x1b no \xfcxxx")
    assert len(done.left_out["halfway"]) == wire.MAX_REASON_CHARS
    assert done.left_out["starts"] == "it starts a thread"
    assert done.left_out["opens_it"].startswith("it opens pipe:")
    assert done.left_out["leaves"] == "SystemExit: 3"
    assert done.spoilt == done.left_out["halfway"]


def test_imports_that_the_code_has_put_off_are_made(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Python 3.15, whose `sys.lazy_modules` has the names of `lazy import` statements that nothing has used."""
    (library / "lazy_one.py").write_text("import sys\nsys.lazy_modules.add('lazy_two')\n")
    for name in ("lazy_two", "refused_one", "owned_lazily"):
        (library / f"{name}.py").touch()
    (tmp_path / "owned_lazily.py").touch()
    lazy = {"lazy_one", "refused_one", "owned_lazily", "absent_lazily"}
    monkeypatch.setattr(sys, "lazy_modules", lazy, raising=False)
    done = rehearsal.rehearse([], ["refused_one"], str(tmp_path), "libraries")

    assert done.modules == ["lazy_one", "lazy_two"]
    assert list(done.left_out) == ["absent_lazily"]
    assert done.spoilt == ""
