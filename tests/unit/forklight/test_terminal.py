"""Output to a terminal: text and colours but no other control sequences; and no module prints by other means."""

import ast
import json
import logging
import re
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import fields

import forklight
from forklight.admin.dead_letters import preview
from forklight.commands.tables import print_table
from forklight.observe.entry import Entry
from forklight.observe.formats import as_json, as_text
from forklight.observe.terminal import coloured, log_to_stderr, plain_json, plain_lines, say, say_json
from forklight.plain import plain

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\x7f\r\x08\x85\u2028\ud800" + BIDI
texts = st.text(st.one_of(st.characters(), st.sampled_from("\x1b\x9b\x07\n\t\r\u202e\ud800[0;1m")), max_size=60)
ROOT = Path(forklight.__file__).parent
PRINTERS = {"print", "echo", "secho", "echo_via_pager"}
MAY_PRINT = {"terminal.py", "screen.py"}


def obeyed(text: str, allowed: str = "") -> list[str]:
    """The characters that a terminal acts on."""
    return [
        char
        for char in text
        if char not in allowed and (unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in BIDI)
    ]


@pytest.mark.invariant("I34")
@given(texts)
@example(HOSTILE)
def test_text_is_text(text: str) -> None:
    assert obeyed(plain(text)) == []
    assert obeyed(plain_lines(text), "\n\t") == []
    assert plain(plain(text)) == plain(text)
    assert plain_lines(text).count("\n") == text.count("\n")
    assert all(line.startswith("  ") for line in plain_lines(text, "  ").split("\n")[1:])
    if not obeyed(text):
        assert plain(text) == plain_lines(text) == text


@pytest.mark.invariant("I34")
@given(texts)
def test_json_stays_json(text: str) -> None:
    written = json.dumps(text, ensure_ascii=False)
    if all(char not in written for char in map(chr, range(0xD800, 0xE000))):
        assert obeyed(plain_json(written)) == []
    assert json.loads(plain_json(written)) == text


@pytest.mark.invariant("I34")
@given(texts)
@example("\x1b[31mred\x1b[0m \x1b[2J")
def test_colours_of_a_functions_own_lines_pass_to_a_terminal_alone(text: str) -> None:
    assert obeyed(coloured(text, colour=False), "\n\t") == []
    shown = coloured(text, colour=True)
    assert obeyed(shown, "\n\t\x1b") == []
    for piece in shown.split("\x1b")[1:]:
        parameters, end, _ = piece.partition("m")
        assert end
        assert parameters[0] == "["
        assert set(parameters[1:]) <= set("0123456789;:")
    assert "\x1b" not in shown or shown.endswith("\x1b[0m")


def test_a_colour_does_not_reach_the_next_line() -> None:
    assert coloured("\x1b[1;31mred", colour=True) == "\x1b[1;31mred\x1b[0m"
    assert coloured("\x1b[1;31mred\x1b[0m", colour=False) == "red"
    assert coloured("\x1b]8;;http://x\x07link", colour=True) == r"\x1b]8;;http://x\x07link"


TEXTS = [field.name for field in fields(Entry) if field.type is str]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("outcome", ["", "error/KeyError"])
def test_every_field_of_the_record_is_shown_as_text(name: str, outcome: str) -> None:
    values = {"function": "f", "outcome": outcome, "client": "10.0.0.1", name: HOSTILE}
    entry = Entry(time=0.0, **values)  # type: ignore[arg-type]
    assert obeyed(as_text(entry), "\n") == []
    assert obeyed(re.sub(r"\x1b\[(0|2|31)m", "", as_text(entry, colour=True)), "\n") == []
    assert obeyed(as_json(entry)) == []
    assert json.loads(as_json(entry))[name] == HOSTILE.replace("\ud800", r"\ud800")


def test_no_text_looks_like_an_entry_of_its_own() -> None:
    forged = "no\n12:34:56.789 admin - all is well"
    for entry in (
        Entry(time=0.0, function="f", outcome="error/E", text=forged, traceback=forged),
        Entry(time=0.0, function="f", text=forged, invocation=forged, level="error"),
    ):
        assert all(line.startswith("  ") for line in as_text(entry).split("\n")[1:])


def test_tables_and_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [(HOSTILE + "\n\t", "b"), ("c", HOSTILE)])
    say(HOSTILE)
    say(HOSTILE, err=True, colour="red")
    say_json(json.dumps(HOSTILE[:-15], ensure_ascii=False))
    shown = capsys.readouterr()
    assert obeyed(shown.out, "\n") == []
    assert obeyed(shown.err, "\n") == []
    assert len(shown.out.splitlines()) == 5


def test_a_full_disk_is_an_error_of_the_output_and_costs_what_is_said_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server says on standard error what it serves, and goes on serving when the disk of its log is full."""
    for stream in ("stdout", "stderr"):
        full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115  its end fails, too
        monkeypatch.setattr(sys, stream, full)
    with pytest.raises(click.ClickException, match=r"the output cannot be written: No space left on device"):
        say("lost")
    say("lost", err=True)
    for opened in (sys.stdout, sys.stderr):
        with suppress(OSError):
            opened.close()


def test_what_the_server_itself_logs(capsys: pytest.CaptureFixture[str]) -> None:
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    root.handlers.clear()
    try:
        log_to_stderr()
        try:
            raise ValueError(HOSTILE + "\nforged")
        except ValueError:
            logging.getLogger("forklight.test").exception("failed: %s", HOSTILE)
        logging.getLogger("forklight.test").info("not shown")
    finally:
        root.handlers[:] = before
    shown = capsys.readouterr().err
    assert obeyed(shown, "\n") == []
    assert shown.startswith("failed: ")
    assert "\n forged" in shown
    assert "not shown" not in shown


def test_a_body_with_half_a_character_can_be_shown() -> None:
    assert preview(b'"\\ud800"', "application/json") == ('"\\ud800"', True)


def test_nobody_prints_in_another_way() -> None:
    """A new command uses `say` and its variants, or this test names it."""
    found = []
    for path in ROOT.rglob("*.py"):
        if path.name in MAY_PRINT or "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in PRINTERS or ast.unparse(node.func).startswith(("sys.stdout.write", "sys.stderr.write")):
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []
