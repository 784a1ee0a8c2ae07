"""Bytes are cut into whole lines, a bounded number at a time, which count with an overhead towards a limit."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sandbox.log_lines import LINE_BYTES, LINE_OVERHEAD_BYTES, WAITING_BYTES, Cutter, Owner, Taken

NO_LIMIT = 10**9


def _all(cutter: Cutter, most: int = 100) -> list[tuple[str | None, bytes]]:
    found = []
    while taken := cutter.take(most):
        assert len(taken) <= most
        found += [(line.owner.invocation, line.line) for line in taken]
    return found


@pytest.mark.invariant("I14")
@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=20).map(lambda b: b.replace(b"\0", b"\n")))), st.integers(1, 5)
)
def test_every_byte_is_in_the_lines_of_who_wrote_it(pieces: list[tuple[bool, bytes]], most: int) -> None:
    cutter = Cutter(NO_LIMIT)
    written: dict[str, bytes] = {}
    found: list[tuple[str | None, bytes]] = []
    for number, (takes, data) in enumerate(pieces):
        cutter.begin(number, str(number))
        cutter.feed(data)
        written[str(number)] = data
        found += [(line.owner.invocation, line.line) for line in cutter.take(most)] if takes else []
        cutter.end(number)
    found += _all(cutter, most)
    for owner, data in written.items():
        lines = data.split(b"\n")
        assert [line for who, line in found if who == owner] == (lines if lines[-1] else lines[:-1])
    assert [int(who or -1) for who, _ in found] == sorted(int(who or -1) for who, _ in found)
    assert not cutter.has_more


LIMIT_BYTES = 1000


class Writers(RuleBasedStateMachine):
    """Several calls of one process write lines; reads end anywhere, and lines are taken late."""

    @initialize(most=st.integers(1, 4))
    def start(self, most: int) -> None:
        self.cutter = Cutter(LIMIT_BYTES, has_marks=True)
        self.most = most
        self.unread = b""
        self.calls: list[int] = []
        self.begun = self.written = 0
        self.expected: dict[str | None, list[bytes]] = {}
        self.raw: dict[bytes, bytes] = {}
        """Each text, which is unique, as it was written"""
        self.found: list[Taken] = []

    @rule(i=st.integers(-1, 4), text=st.text("a\x1e\x1f1", max_size=6), flood=st.integers(0, 9))
    def write(self, i: int, text: str, flood: int) -> None:
        """By a call that may be open, over or still to come, or, with -1, by something that has no mark."""
        self.written += 1
        line = b"%d %s%s" % (self.written, text.encode(), b"x" * (LIMIT_BYTES if flood == 9 else 0))
        self.raw[line] = line + b"\n" if i < 0 else b"\x1f%d\x1f%s\n" % (i, line)
        owner = i if i in self.calls else self.calls[0] if i < 0 and len(self.calls) == 1 else None
        self.expected.setdefault(None if owner is None else str(owner), []).append(line)
        self.unread += self.raw[line]

    @rule(part=st.floats(0, 1))
    def read(self, part: float) -> None:
        length = round(part * len(self.unread))
        self.cutter.feed(self.unread[:length])
        self.unread = self.unread[length:]

    @rule()
    def begin(self) -> None:
        self.read(1.0)
        self.begun += 1
        self.calls.append(self.begun)
        self.cutter.begin(self.begun, str(self.begun))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.read(1.0)
        i = data.draw(st.sampled_from(self.calls))
        self.calls.remove(i)
        self.cutter.end(i)

    @rule()
    def take(self) -> None:
        taken = self.cutter.take(self.most)
        assert len(taken) <= self.most
        self.found += taken

    def teardown(self) -> None:
        """Everything is in a line of its owner, in order, or counted as dropped of its owner."""
        self.read(1.0)
        for i in self.calls:
            self.cutter.end(i)
        self.cutter.close()
        self.take()
        while self.cutter.has_more:
            self.take()
        assert {taken.owner.invocation for taken in self.found} <= self.expected.keys()
        for owner, texts in self.expected.items():
            own = [taken for taken in self.found if taken.owner.invocation == owner]
            lines = [taken.line for taken in own if not taken.is_notice]
            assert lines == [text for text in texts if text in lines]
            dropped = sum(int(taken.line.split()[1]) for taken in own if taken.is_notice)
            assert dropped == sum(len(self.raw[text]) for text in texts if text not in lines)


TestWriters = pytest.mark.invariant("I14")(Writers.TestCase)
TestWriters.settings = settings(max_examples=100, stateful_step_count=30)


def marked(limit_bytes: int = NO_LIMIT, calls: int = 2) -> Cutter:
    """A cutter with some calls open, from 1."""
    cutter = Cutter(limit_bytes, has_marks=True)
    for i in range(1, calls + 1):
        cutter.begin(i, str(i))
    return cutter


@pytest.mark.parametrize(
    "text", [b"\x1f", b"\x1f\x1f", b"\x1fx\x1f", b"\x1f-1\x1fa", b"\x1f1", b"\x1f" + b"1" * 30 + b"\x1f"]
)
def test_what_is_no_call_mark_is_text_of_the_process(text: bytes) -> None:
    cutter = marked()
    cutter.feed(text + b"\n")
    assert _all(cutter) == [(None, text)]


def test_with_one_slot_a_mark_is_text() -> None:
    cutter = Cutter(NO_LIMIT)
    cutter.begin(1, "a")
    cutter.feed(b"\x1f1\x1ftext\n")
    assert _all(cutter) == [("a", b"\x1f1\x1ftext")]


def test_the_rest_of_a_long_line_has_its_call_and_level() -> None:
    cutter = marked()
    cutter.feed(b"\x1f2\x1f\x1e3" + b"x" * 2 * LINE_BYTES + b"\nother\n")
    *lines, other = _all(cutter)
    assert {who for who, _ in lines} == {"2"}
    assert all(line.startswith(b"\x1e3x") for _, line in lines)
    assert sum(line.count(b"x") for _, line in lines) == 2 * LINE_BYTES
    assert other == (None, b"other")


def test_an_unfinished_line_stays_whole_while_others_come_and_go() -> None:
    cutter = marked()
    cutter.feed(b"\x1f1\x1fhalf a ")
    cutter.end(2)
    cutter.begin(3, "3")
    cutter.begin(4, "4")
    cutter.feed(b"line\nof the process ")
    cutter.begin(5, "5")
    cutter.feed(b"too\n")
    assert _all(cutter) == [("1", b"half a line"), (None, b"of the process too")]


@pytest.mark.parametrize(("ends", "owners"), [(1, ["1", "2"]), (2, [None, "1"])])
def test_an_unfinished_line_ends_where_its_owner_changes(ends: int, owners: list[str | None]) -> None:
    cutter = marked()
    cutter.feed(b"\x1f1\x1fhalf" if ends == 1 else b"half")
    cutter.end(ends)
    cutter.feed(b"other\n")
    assert _all(cutter) == [(owners[0], b"half"), (owners[1], b"other")]


def test_a_mark_that_is_read_in_two_pieces_is_a_mark() -> None:
    cutter = marked(calls=1)
    cutter.feed(b"\x1f1")
    cutter.begin(2, "2")
    cutter.feed(b"\x1ftext\n")
    assert _all(cutter) == [("1", b"text")]


def test_lines_over_the_limit_of_one_call_leave_the_others_theirs_and_are_looked_at_in_turns() -> None:
    cutter = marked(10 * LINE_OVERHEAD_BYTES)
    cutter.feed(b"\x1f1\x1f\n" * 10_000 + b"\x1f2\x1fme\n")
    assert len(cutter.take(100)) == 10
    assert cutter.has_more
    assert cutter.take(100) == [], "dropped lines count, too"
    cutter.end(1)
    found = cutter.take(NO_LIMIT)
    assert [(taken.owner.invocation, taken.is_notice) for taken in found] == [("2", False), ("1", True)]
    assert found[1].line.startswith(b"[forklight] 39960 more bytes of log dropped: ")


def test_bytes_that_find_no_room_are_counted() -> None:
    cutter = marked(calls=1)
    cutter.feed(b"\x1f1\x1fbegun ")
    for _ in range(3):
        cutter.feed(bytes(WAITING_BYTES))
    cutter.feed(b"end\n")
    cutter.end(1)
    assert cutter.take(2) == [Taken(Owner("1"), b"begun "), Taken(Owner("1"), b"end")]
    [notice] = cutter.take(9)
    assert notice.line.startswith(b"[forklight] %d more bytes of log dropped: " % (3 * WAITING_BYTES))


def test_it_never_gives_more_than_is_asked_for() -> None:
    cutter = Cutter(NO_LIMIT)
    cutter.feed(b"\n" * 65_536)
    assert len(cutter.take(10)) == 10
    assert cutter.has_more
    assert len(_all(cutter, 1000)) == 65_526
    assert cutter.take(0) == []


def test_a_line_counts_its_overhead() -> None:
    cutter = Cutter(10 * LINE_OVERHEAD_BYTES)
    cutter.begin(1, "a")
    cutter.feed(b"\n" * 65_536)
    assert len(cutter.take(NO_LIMIT)) == 10
    cutter.end(1)
    [notice] = cutter.take(NO_LIMIT)
    assert (notice.is_notice, notice.owner.invocation) == (True, "a")
    assert notice.line.startswith(b"[forklight] 65526 more bytes of log dropped: ")


def test_what_is_over_the_limit_is_not_looked_at_line_by_line() -> None:
    cutter = Cutter(LINE_OVERHEAD_BYTES)
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    cutter.feed(b"\n" * WAITING_BYTES)
    sys.setprofile(count)
    try:
        cutter.take(100)
    finally:
        sys.setprofile(None)
    assert calls < 20


def test_what_waits_has_a_bound() -> None:
    cutter = Cutter(NO_LIMIT)
    for _ in range(2 * WAITING_BYTES // LINE_BYTES):
        cutter.feed(b"x" * (LINE_BYTES - 1) + b"\n")
    cutter.begin(1, "a")
    assert len(_all(cutter)) == WAITING_BYTES // LINE_BYTES + 1, "and one that tells of the others"
    cutter.feed(b"again\n")
    assert _all(cutter) == [("a", b"again")], "what was taken makes room"
