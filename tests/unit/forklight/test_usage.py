"""What functions have held and used, beside always on; and how it is told."""

import pytest

from bus import Ok, Timings
from dispatcher.records import Record
from forklight.commands.usage_rows import HEADINGS, last_line, memory_time, notes, rows
from forklight.observe.status import Usage
from forklight.observe.usage import Living, usage
from sandbox.usage import Held, Meters

S = 1_000_000_000
MIB = 1024
"""in KiB"""


def record(**starts: int) -> Record:
    """So many events by start kind; they waited 1 ms, those of `spare` and `warm` 10 µs."""
    found = Record()
    for kind, count in starts.items():
        for _ in range(count):
            ready = kind in ("warm", "spare")
            timings = Timings(0, 10_000, 20_000, S) if ready else Timings(0, 500_000, 1_000_000, S)
            start = "warm" if ready else kind
            found.add(Ok(start=start, spare=kind == "spare", timings=timings, cpu_ns=2_000_000))  # type: ignore[arg-type]
    return found


def used(meters: Meters, records: dict[str, Record], retired: dict[str, Record] | None = None) -> Usage:
    """After 100 s."""
    return usage(meters, records, retired or {}, Living(cpu_ns={"busy": 3 * S}, server_kb=50 * MIB), 100 * S)


@pytest.fixture
def meters() -> Meters:
    """`busy` had two instances at one time for 10 of 100 s, of 20 MiB each, and its template has 5; `calm` ran none."""
    found = Meters()
    for name in ("busy", "calm"):
        found.of(name).served.change(1, 0)
        _begin(Held(found.of(name).templates), 5 * MIB, 0)
    for _ in range(2):
        instance = Held(found.of("busy").instances)
        _begin(instance, 20 * MIB, 10 * S)
        instance.end(20 * S)
    found.of("busy").note_used(2)
    _begin(Held(found.zygotes), 10 * MIB, 0)
    return found


def _begin(held: Held, kb: int, at_ns: int) -> None:
    held.begin(at_ns)
    held.read(kb, at_ns)


def test_always_on_is_the_most_ever_used_for_the_whole_time(meters: Meters) -> None:
    busy, calm = used(meters, {"busy": record(fork=2), "calm": record()}).functions

    assert (busy.held_mib_s, busy.always_on_mib_s) == (5 * 100 + 2 * 20 * 10, 5 * 100 + 2 * 20 * 100)
    assert (calm.held_mib_s, calm.always_on_mib_s) == (5 * 100, 5 * 100), "what was never used is not kept"


def test_the_sum_has_the_runtimes_on_both_sides(meters: Meters) -> None:
    total = used(meters, {"busy": record(fork=2), "calm": record()}).total

    assert (total.held_mib_s, total.always_on_mib_s) == (900 + 500 + 1000, 4500 + 500 + 1000)
    assert (total.events, total.cpu_s, total.calls_cpu_s) == (2, 3.0, 0.004)


def test_what_a_reload_removes_stays_in_the_sum(meters: Meters) -> None:
    meters.of("busy").served.change(-1, 50 * S)
    found = used(meters, {"calm": record()}, {"busy": record(fork=2)})

    assert [one.name for one in found.functions] == ["calm"]
    assert found.removed is not None
    assert (found.removed.held_mib_s, found.removed.events) == (900, 2)
    assert found.removed.always_on_mib_s == 45 * 50, "for as long as it was served"
    assert (found.total.events, found.used) == (2, 1)


def test_a_function_that_comes_back_goes_on(meters: Meters) -> None:
    found = used(meters, {"busy": record(warm=1), "calm": record()}, {"busy": record(fork=2)})

    assert (found.functions[0].events, found.removed) == (3, None)


def test_a_template_that_becomes_an_instance_is_not_kept_beside_it(meters: Meters) -> None:
    meters.of("busy").becomes = True

    assert used(meters, {"busy": record(load=2), "calm": record()}).functions[0].always_on_mib_s == 2 * 20 * 100


def test_starts_are_shares_with_percentiles(meters: Meters) -> None:
    starts = used(meters, {"busy": record(warm=7, spare=1, fork=2), "calm": record()}).functions[0].starts

    assert {kind: (one.events, one.share) for kind, one in starts.items()} == {
        "warm": (7, 0.7),
        "spare": (1, 0.1),
        "fork": (2, 0.2),
    }
    assert 0.8 <= starts["fork"].p50_ms <= starts["fork"].p99_ms <= 1
    assert starts["warm"].p99_ms <= 0.01


def test_the_table_has_all_that_is_served_then_what_is_shared_then_the_sum(meters: Meters) -> None:
    meters.of("calm").served.change(-1, 50 * S)
    found = used(meters, {"busy": record(warm=999, fork=1)}, {"calm": record()})
    told = rows(found)

    assert [row[0] for row in told] == ["busy", "removed", "runtimes", "total"]
    assert all(len(row) == len(HEADINGS) for row in told)
    assert told[0][1:7] == ("1,000", "0.25 MiB·h", "1.25 MiB·h", "2", "3 s", "2 s")
    assert told[0][7].startswith("99.9 % warm (p50 ")
    assert ", 0.1 % fork (p50 " in told[0][7]
    assert notes(found)[0].startswith("the server itself: 50 MiB now")


def test_the_last_line_tells_it_all_and_nothing_if_nothing_ran(meters: Meters) -> None:
    found = used(meters, {"busy": record(warm=3, fork=1), "calm": record()})

    assert last_line(found, 7260.0) == (
        "served 4 events of 1 function in 2h01m: 0.667 MiB·h held where always-on would have held 1.67 MiB·h; "
        "3 s of CPU; 75 % warm (p50 5 µs, p99 9.9 µs), 25 % fork (p50 900 µs, p99 1 ms)"
    )
    assert last_line(used(meters, {"busy": record(), "calm": record()}), 7260.0) == ""


@pytest.mark.parametrize(
    ("mib_s", "told"),
    [(0.0, "0 MiB·s"), (12.34, "12.3 MiB·s"), (3600.0, "1 MiB·h"), (3600 * 512, "512 MiB·h"), (3600 * 2048, "2 GiB·h")],
)
def test_memory_over_time_has_a_unit_that_fits(mib_s: float, told: str) -> None:
    assert memory_time(mib_s) == told
