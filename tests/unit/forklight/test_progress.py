"""The progress of a deploy: one line drawn over and over on a terminal, lines elsewhere, or JSON lines."""

import json
import os
import pty
import sys
import tty

import pytest

from forklight.commands.progress import Progress, size_told


def tell(progress: Progress) -> None:
    with progress:
        progress.show("uploading", done=0, of=2_000_000)
        progress.show("uploading", done=2_000_000, of=2_000_000)
        progress.show("loading")
        progress.show("loading", done=2, of=2, function="pay\x1b[2J", ms=3.14159)


def test_on_a_terminal_a_step_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb") as terminal:
        monkeypatch.setattr(sys, "stderr", stream)
        tell(Progress(as_json=False))
        stream.flush()
        drawn = b""
        while drawn.count(b"\n") < 2:  # a terminal hands over what has come so far
            drawn += os.read(terminal.fileno(), 4096)
    assert drawn.decode().split("\r\x1b[K") == [
        "",
        f"uploading   [{'.' * 24}] 0.0 kB of 2.0 MB",
        f"uploading   [{'#' * 24}] 2.0 MB\n",
        "loading",
        "loading     2 of 2  pay\\x1b[2J\n",
    ]


def test_elsewhere_a_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Progress(as_json=False))
    assert capsys.readouterr() == ("", "uploading   2.0 MB\nloading     2 of 2  pay\\x1b[2J\n")


def test_or_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Progress(as_json=True))
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"step": "uploading", "of": 2_000_000},
        {"step": "uploading", "done": 2_000_000, "of": 2_000_000},
        {"step": "loading"},
        {"step": "loading", "function": "pay\x1b[2J", "done": 2, "of": 2, "ms": 3.142},
    ]
    assert err == ""


def test_sizes() -> None:
    assert [size_told(size) for size in (0, 319, 99_999, 100_000, 2_000_000)] == [
        "0.0 kB",
        "0.3 kB",
        "100.0 kB",
        "0.1 MB",
        "2.0 MB",
    ]
