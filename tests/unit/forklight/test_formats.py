"""The formats of the journal."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from forklight.observe.entry import Entry
from forklight.observe.formats import Days, as_json, as_text, json_lines, text_lines

AT_S = time.mktime((2026, 11, 23, 12, 34, 56, 0, 0, -1)) + 0.789
WRITTEN = Entry(time=AT_S, function="greet", text="hello", instance="greet-3", invocation="0011223344556677-0000000a")
ENDED = Entry(
    time=AT_S,
    function="greet",
    invocation="0011223344556677-0000000a",
    outcome="ok",
    trigger="http",
    status=200,
    start="fork",
    queue_ms=0.5,
    start_ms=3.25,
    run_ms=10.0,
)
FAILED = Entry(time=AT_S, function="greet", trigger="http", outcome="error/KeyError", text="'x'", traceback="one\n two")
RETRIED = Entry(
    time=AT_S,
    function="greet",
    invocation="m-1",
    trigger="queue",
    queue="orders",
    attempt=2,
    outcome="error/KeyError",
    decision="retry in 2.1 s",
    text="'x'",
)
FIRED = Entry(
    time=AT_S, function="greet", trigger="timer", timer="nightly", scheduled_at="2026-11-23T02:30:00Z", outcome="ok"
)
BATCH = Entry(
    time=AT_S, function="greet", trigger="queue", queue="orders", messages=3, attempt=1, outcome="ok", decision="ack"
)
REQUESTED = replace(ENDED, method="GET", path="/greet", client="127.0.0.1", ms=14.0)
REFUSED = Entry(
    time=AT_S,
    function="",
    invocation="0011223344556677-0000000b",
    outcome="answered",
    trigger="http",
    status=404,
    method="GET",
    path="/none",
    client="127.0.0.1",
    ms=0.2,
    reason="no_route",
    text="no function has this path",
)
ENDED_TEXT = "12:34:56.789 greet 0000000a ← http ok 200 fork, queue 0.5 ms, start 3.25 ms, run 10 ms"
REFUSED_TEXT = "12:34:56.789 forklight 0000000b ← http answered"
MALFORMED = replace(REFUSED, status=400, method="", path="", text="it is no HTTP")
SPAWNED = Entry(time=AT_S, function="greet", trigger="call", attempt=5, outcome="unrun", decision="dead: MaxAge")


def test_json_says_nothing_that_says_nothing() -> None:
    assert json.loads(as_json(WRITTEN)) == {
        "time": AT_S,
        "function": "greet",
        "text": "hello",
        "instance": "greet-3",
        "invocation": "0011223344556677-0000000a",
    }
    assert json.loads(as_json(ENDED))["run_ms"] == 10.0
    assert "\n" not in as_json(FAILED)


@pytest.mark.invariant("I35")
@given(st.lists(st.text().map(lambda text: replace(WRITTEN, text=text)), max_size=4))
def test_many_entries_are_as_many_lines_as_each_alone(entries: list[Entry]) -> None:
    assert json_lines(entries).decode() == "".join(f"{as_json(entry)}\n" for entry in entries)
    shown = "".join(f"{as_text(entry)}\n" for entry in entries)
    assert text_lines(entries) == shown.encode(errors="backslashreplace")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (WRITTEN, "12:34:56.789 greet 0000000a hello"),
        (Entry(time=AT_S, function="greet", text="x", instance="greet-3"), "12:34:56.789 greet greet-3 x"),
        (Entry(time=AT_S, function="", text="2 lines dropped"), "12:34:56.789 forklight - 2 lines dropped"),
        (ENDED, ENDED_TEXT),
        (
            REQUESTED,
            f"{ENDED_TEXT}, GET /greet from 127.0.0.1 in 14 ms",
        ),
        (
            REFUSED,
            f"{REFUSED_TEXT} 404 GET /none from 127.0.0.1 in 0.2 ms: no function has this path",
        ),
        (
            MALFORMED,
            f"{REFUSED_TEXT} 400 - - from 127.0.0.1 in 0.2 ms: it is no HTTP",
        ),
        (FAILED, "12:34:56.789 greet - ← http error/KeyError 'x'\n  one\n   two"),
        (RETRIED, "12:34:56.789 greet m-1 ← queue orders attempt 2 error/KeyError retry in 2.1 s 'x'"),
        (FIRED, "12:34:56.789 greet - ← timer nightly 2026-11-23T02:30:00Z ok"),
        (BATCH, "12:34:56.789 greet - ← queue orders 3 messages attempt 1 ok ack"),
        (SPAWNED, "12:34:56.789 greet - ← call attempt 5 unrun dead: MaxAge"),
    ],
)
def test_text_is_one_aligned_line(entry: Entry, text: str) -> None:
    assert as_text(entry) == text


def test_colours_mark_what_is_wrong() -> None:
    assert as_text(WRITTEN, colour=True) == "\x1b[2m12:34:56.789\x1b[0m greet 0000000a hello"
    assert "\x1b[31merror/KeyError\x1b[0m" in as_text(FAILED, colour=True)
    assert "\x1b[31m" not in as_text(ENDED, colour=True) + as_text(REFUSED, colour=True)
    assert "\x1b[31manswered\x1b[0m" in as_text(replace(REFUSED, status=503), colour=True)
    assert "\x1b[31mdead: MaxAge\x1b[0m" in as_text(SPAWNED, colour=True)
    assert "\x1b[31mretry" not in as_text(RETRIED, colour=True)


def test_a_record_of_logging_has_its_parts_in_both_forms() -> None:
    extra = Raw(b'{"order":7,"by":"Ada","tags":["a"]}')
    entry = Entry(time=0.0, function="f", text="ERROR f: no", level="error", extra=extra, traceback="Trace\n  back\n")
    shown = as_text(entry).partition(" f - ")[2]
    assert shown == 'ERROR f: no order=7 by=Ada tags=["a"]\n  Trace\n    back'
    found = json.loads(as_json(entry))
    assert (found["text"], found["extra"], found["traceback"]) == ("ERROR f: no", entry.fields, "Trace\n  back\n")
    assert "extra" not in json.loads(as_json(Entry(time=0.0, function="f", text="printed")))


def test_the_date_is_told_where_it_changes() -> None:
    days, day_s = Days(AT_S), 86400
    told = [days.line(replace(WRITTEN, time=AT_S + offset_s)) for offset_s in (0, 60, -2 * day_s, -2 * day_s + 1, 0)]
    assert told == [None, None, "— 2026-11-21 —", None, "— 2026-11-23 —"]
    assert as_text(Entry(time=AT_S, function="", started=True)) == "— restarted 2026-11-23 12:34:56 —"
