"""Bytes are cut into whole lines, a bounded number at a time, which count with an overhead towards a limit."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.log_lines import LINE_BYTES, LINE_OVERHEAD_BYTES, WAITING_BYTES, Cutter, Owner

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
        cutter.begin(Owner(str(number)))
        cutter.feed(data)
        written[str(number)] = data
        found += [(line.owner.invocation, line.line) for line in cutter.take(most)] if takes else []
    cutter.begin(Owner())
    found += _all(cutter, most)
    for owner, data in written.items():
        lines = data.split(b"\n")
        assert [line for who, line in found if who == owner] == (lines if lines[-1] else lines[:-1])
    assert [int(who or -1) for who, _ in found] == sorted(int(who or -1) for who, _ in found)
    assert not cutter.has_more


def test_it_never_gives_more_than_is_asked_for() -> None:
    cutter = Cutter(NO_LIMIT)
    cutter.feed(b"\n" * 65_536)
    assert len(cutter.take(10)) == 10
    assert cutter.has_more
    assert len(_all(cutter, 1000)) == 65_526
    assert cutter.take(0) == []


def test_a_line_counts_its_overhead() -> None:
    cutter = Cutter(10 * LINE_OVERHEAD_BYTES)
    cutter.begin(Owner("a"))
    cutter.feed(b"\n" * 65_536)
    assert len(cutter.take(NO_LIMIT)) == 10
    cutter.begin(Owner())
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
    cutter.begin(Owner())
    assert len(_all(cutter)) == WAITING_BYTES // LINE_BYTES + 1, "and one that tells of the others"
    cutter.feed(b"again\n")
    assert _all(cutter) == [(None, b"again")], "what was taken makes room"
