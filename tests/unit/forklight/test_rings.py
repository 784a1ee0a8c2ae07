"""The latest entries of each function, within the bound of one and the bound of all."""

import tracemalloc
from itertools import count

from forklight.observe.entry import Entry, Selection, size_bytes
from forklight.observe.rings import RINGS_BYTES, Rings

_NUMBERS = count(1)


def _add(rings: Rings, entry: Entry) -> None:
    rings.add((next(_NUMBERS), entry, size_bytes(entry)))


def _latest(rings: Rings, function: str | None = None) -> list[Entry]:
    return [entry for _, entry in rings.numbered(Selection(function=function))]


def _entry(function: str, text: str = "", time: float = 0.0) -> Entry:
    return Entry(time=time, function=function, text=text)


def test_a_ring_keeps_the_latest_of_its_function() -> None:
    rings = Rings(ring_bytes=3 * size_bytes(_entry("a", "x")))
    for number in range(10):
        _add(rings, _entry("a", str(number)))
    _add(rings, _entry("b", "of another"))
    assert [entry.text for entry in _latest(rings, "a")] == ["7", "8", "9"]
    assert [entry.text for entry in _latest(rings, "b")] == ["of another"]
    assert _latest(rings, "c") == []


def test_of_several_functions_the_entries_come_in_their_order_whatever_the_clock_did() -> None:
    rings, first = Rings(), next(_NUMBERS) + 1
    for time, function in ((3.0, "a"), (1.0, "b"), (2.0, "a")):
        _add(rings, _entry(function, time=time))
    assert [(number, entry.time) for number, entry in rings.numbered(Selection())] == [
        (first, 3.0),
        (first + 1, 1.0),
        (first + 2, 2.0),
    ]
    assert [number for number, _ in rings.numbered(Selection(function="a", since_s=2.5))] == [first]


def test_all_rings_together_have_a_bound_and_who_says_little_keeps_it() -> None:
    one = size_bytes(_entry("f", "x"))
    rings = Rings(ring_bytes=1000 * one, rings_bytes=5000 * one)
    _add(rings, _entry("quiet", "x"))
    for function in range(500):
        for _ in range(100):
            _add(rings, _entry(f"f{function}", "x"))
            assert rings.size_bytes <= 5000 * one
    assert [entry.text for entry in _latest(rings, "quiet")] == ["x"]
    assert len(_latest(rings, "f499")) > 1


def test_the_bound_is_what_it_really_takes() -> None:
    rings = Rings(ring_bytes=RINGS_BYTES, rings_bytes=8 * 1024 * 1024)
    tracemalloc.start()
    try:
        for number in range(40_000):
            _add(rings, _entry("f", f"line {number}", time=float(number)))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= 8 * 1024 * 1024
