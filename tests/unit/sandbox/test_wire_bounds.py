"""Extreme values in every field of a guest's frame: it is a breach, or becomes an outcome that all readers can take."""

import json
import string
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bus import Event, Failed, Outcome
from bus.invocation import Invocation
from bus.retry import RetryPolicy, decide
from dispatcher.records import Record
from forklight.observe.entry import Selection
from forklight.observe.formats import as_json, as_text, json_lines
from forklight.observe.journal import Journal
from sandbox import outcomes, wire
from sandbox.control import _decode
from sandbox.endings import Answered
from sandbox.frames import Answer
from sandbox.guest._forklight.wire import LENGTHS, MAX_CODE_CHARS, MAX_HEADER_BYTES, MAX_SECONDS
from triggers.http.answers import encode_answer
from triggers.http.codec import to_answer

EVENT = Event(source="/test", type="t", id="i", function="f")
RUN = outcomes.Run(accepted_ns=1, written_ns=2, start="warm", instance="f-1", version="v", attempt=1)
OK = {"t": "ok", "i": 1, "length": 0}
FAIL = {"t": "fail", "i": 1, "kind": "error", "code": "E", "message": "no"}
END = {"t": "end", "i": 1}
UNFIT = {"t": "unfit", "code": "InitFailed", "message": "no"}
LEARNT = {"t": "learnt", "modules": ["a.b"]}
OUTPUT = ["send", "orders", "text/plain", 0, 0.0, None, {}]
NUMBERS: list[float] = [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**308, 10**400]
NUMBERS += [0.5, 1e308, -0.0, 5e-324]
LONG = "x" * 1_000_000
TEXTS = ["", "\0", "\x1b[2J", "\n", "\u202e", "\x9b", '"\\', "é" * 200, "x" * 201, "y" * 5000, "\ud800", "\udfff\ud800"]
nested = st.sampled_from([json.loads("[" * depth + "]" * depth) for depth in (1, 100, 400)])
extreme = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.sampled_from(TEXTS),
    st.text(max_size=30),
    st.integers(),
    st.floats(),
    st.none() | st.booleans(),
    nested,
    st.lists(st.lists(st.sampled_from(TEXTS[:10]), min_size=2, max_size=2), max_size=3),
    st.lists(st.tuples(*(st.sampled_from([value, *NUMBERS[:8], *TEXTS[:10]]) for value in OUTPUT)), max_size=3),
)
NUMBERED = ["i", "started_ns", "finished_ns", "cpu_ns", "peak_rss_kb", "log"]
FIELDS = {
    "ok": [*NUMBERED, "status", "type", "headers", "length", "out"],
    "fail": [*NUMBERED, "kind", "code", "message", "traceback", "retry_after_s"],
    "end": [*NUMBERED, "out"],
    "unfit": ["code", "message", "traceback"],
    "learnt": ["modules"],
}
CONTROL = ["t", "n", "pid", "code", "errno", "version", "prefix", "rss_kb", "ms", "threads", "thread_owner", "sockets"]
CONTROL += ["left", "message", "traceback", "rehearsed", "left_out", "spoilt"]
ALL = Selection()


def frame(header: dict[str, Any]) -> bytes:
    data = json.dumps(header).encode()
    return LENGTHS.pack(len(data), 0) + data


def outcome_of(data: bytes) -> Outcome | None:
    """The outcome of a frame; None for a breach or a frame that ends no call. Any other exception fails the test."""
    try:
        [(found, body)] = wire.Frames(1000).feed(data)
    except wire.Breach:
        return None
    if not isinstance(found, Answer):
        return None
    return outcomes.of(Answered(found, body), "", RUN, 1000)


def take(outcome: Outcome) -> None:
    """Pass the outcome to everything in the server that reads it."""
    record, journal = Record(), Journal(json_lines, -1)
    record.add(outcome)
    assert record.cpu_ns < 10**9
    journal.report(Invocation(EVENT, outcome))
    [entry] = journal.latest(ALL)
    assert json.loads(as_json(entry))
    assert as_text(entry)
    assert decide(outcome, 1, 0.0, RetryPolicy(), 0.5)
    answer = to_answer(outcome, "i")
    head, _ = encode_answer(answer, method="GET", connection="", date="")
    assert len(head) < 2 * MAX_HEADER_BYTES
    retry_after = dict(answer.headers).get("retry-after", "0")
    assert set(retry_after) <= set(string.digits)
    assert int(retry_after) <= MAX_SECONDS
    if isinstance(outcome, Failed):
        assert len(outcome.code) <= MAX_CODE_CHARS


@pytest.mark.invariant("I12")
@settings(max_examples=200)
@given(st.sampled_from([OK, FAIL, END, UNFIT, LEARNT]), st.data())
def test_a_frame_of_extremes_is_a_breach_or_an_outcome(base: dict[str, Any], data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(FIELDS[base["t"]]), min_size=1, max_size=3, unique=True))
    outcome = outcome_of(frame(base | {name: data.draw(extreme) for name in names}))
    if outcome is not None:
        take(outcome)


@pytest.mark.parametrize("base", [OK, FAIL, END, UNFIT, LEARNT], ids=["ok", "fail", "end", "unfit", "learnt"])
@pytest.mark.parametrize("value", [*NUMBERS, *TEXTS, LONG], ids=lambda value: repr(value)[:20])
def test_each_extreme_in_each_field(base: dict[str, Any], value: object) -> None:
    for name in FIELDS[str(base["t"])]:
        outcome = outcome_of(frame(base | {name: value}))
        if outcome is not None:
            take(outcome)


@pytest.mark.parametrize(
    "header",
    [
        FAIL | {"retry_after_s": MAX_SECONDS + 1},
        FAIL | {"retry_after_s": 1e308},
        FAIL | {"code": "x" * (MAX_CODE_CHARS + 1)},
        FAIL | {"message": LONG},
        FAIL | {"traceback": LONG},
        OK | {"type": "x" * 1025},
        OK | {"headers": [["a", LONG]]},
        OK | {"headers": [["a", "b"]] * 1001},
        OK | {"out": [[*OUTPUT[:4], 1e300, *OUTPUT[5:]]]},
        OK | {"out": [["send", LONG, *OUTPUT[2:]]]},
        OK | {"peak_rss_kb": 2**41},
    ],
    ids=lambda header: str(header)[:60],
)
def test_what_is_beyond_its_bound_is_a_breach(header: dict[str, Any]) -> None:
    assert outcome_of(frame(header)) is None


@pytest.mark.parametrize(
    "modules",
    [
        ["a"] * 4097,
        ["x" * 201],
        [""],
        ["a."],
        [".a"],
        ["a..b"],
        ["1a"],
        ["a b"],
        ["a\n"],
        ["\x1b[2J"],
        ["é"],
        ["a/b"],
        [1],
        "a",
    ],
    ids=lambda modules: repr(modules)[:20],
)
def test_what_is_no_list_of_modules_is_a_breach(modules: object) -> None:
    assert len(wire.Frames(1000).feed(frame(LEARNT))) == 1
    with pytest.raises(wire.Breach):
        wire.Frames(1000).feed(frame(LEARNT | {"modules": modules}))


def test_the_time_on_processors_is_no_more_than_there_was() -> None:
    outcome = outcome_of(frame(OK | {"cpu_ns": 2**63 - 1}))
    assert outcome is not None
    assert outcome.cpu_ns < 1000 * 4096


@pytest.mark.invariant("I12")
@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(CONTROL), extreme, min_size=1, max_size=3))
@example({"pid": -1})
@example({"left": [-1]})
@example({"rss_kb": 10**400})
def test_a_control_message_of_extremes_is_one_of_ours_or_refused(changes: dict[str, Any]) -> None:
    try:
        found = _decode(json.dumps({"t": "exited"} | changes).encode())
    except (ValueError, RecursionError):  # those at which Control._readable ends the channel
        return
    assert 0 <= found.pid <= 2**22
    assert all(0 <= pid <= 2**22 for pid in found.left)
    assert 0 <= found.rss_kb <= 2**40
    assert 0 <= found.ms <= MAX_SECONDS * 1000
    assert found.n is None or 0 <= found.n <= 2**53
