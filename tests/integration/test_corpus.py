"""What is told of typical mistakes, word for word. Each lies in tests/corpus beside the output that is expected.

`config/x.toml` is for `forklight check x.toml`, and `load/x.py` or the folder `load/x` for `forklight check --load`.
With FORKLIGHT_WRITE_CORPUS=1 in the environment the outputs are written instead: read each before it is committed.
"""

import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from forklight.cli import main
from tests.kit.support import copy_readable, readable_folder

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
CONFIGURATIONS = sorted(CORPUS.glob("config/*.toml"))
APPLICATIONS = sorted(path for path in CORPUS.glob("load/*") if path.is_dir() or path.suffix == ".py")
IS_WRITTEN = "FORKLIGHT_WRITE_CORPUS" in os.environ


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, which functions can read."""
    with readable_folder() as folder:
        monkeypatch.chdir(folder)
        yield folder


def _output(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What a command prints, then its exit status; with names for what differs from machine to machine."""
    monkeypatch.setattr(sys, "argv", ["forklight", *arguments, "--state", "state"])
    with pytest.raises(SystemExit) as exit_:
        main()
    out, err = capfd.readouterr()
    text = f"{err}{out}exit {exit_.value.code}\n"
    text = text.replace(str(folder), "FOLDER").replace(f"{sys.executable} ", "PYTHON ")
    text = text.replace(f"Python {platform.python_version()} at {sys.prefix}", "Python VERSION at PREFIX")
    text = text.replace(sysconfig.get_path("stdlib"), "STDLIB")
    text = re.sub(r"thread 0x[0-9a-f]+", "thread 0xN", text)
    text = re.sub(r'\n +File "<frozen .*', "", text)  # they differ from one Python to the next
    return re.sub(r"\b\d+ ms, (async )?def", r"N ms, \1def", text)


def _check(found: str, expected: Path) -> None:
    if IS_WRITTEN:
        expected.write_text(found)
    assert found == expected.read_text()


@pytest.mark.parametrize("case", CONFIGURATIONS, ids=lambda path: path.stem)
def test_a_configuration(
    case: Path, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(case, folder)
    for name in ("requirements.txt", ".env.example", "source/greet.py", "app-1.0.zip"):  # what may have been meant
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    found = _output(folder, capfd, monkeypatch, "check", case.name)
    _check(found, case.with_suffix(".txt"))


@pytest.mark.parametrize("case", APPLICATIONS, ids=lambda path: path.stem)
def test_an_application(
    case: Path, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if case.is_dir():
        copy_readable(case, folder / "app")
    else:
        shutil.copy(case, folder / case.name)
    found = _output(folder, capfd, monkeypatch, "check", "--load", "app" if case.is_dir() else case.name)
    _check(found, case.with_suffix(".txt"))


def test_there_are_enough_of_them() -> None:
    assert len(CONFIGURATIONS) + len(APPLICATIONS) >= 60
    expected = {case.with_suffix(".txt") for case in (*CONFIGURATIONS, *APPLICATIONS)}
    assert set(CORPUS.glob("*/*.txt")) == expected
