"""Rates between two looks, and the rows that tell them."""

from typing import Any

import pytest
from msgspec.structs import replace

from forklight.commands.rates import HEADINGS, Rates, rates, rows, total_per_s
from forklight.commands.rows import FUNCTION_HEADINGS, duration, function_row, notes, queue_rows, told_outcome
from forklight.commands.tables import table, tone_of
from forklight.observe.status import FunctionStatus, Instances, Isolation, QueueStatus, Status, TimerStatus

IDLE = Instances(starting=0, idle=1, busy=0, leaving=0, waiting=0)
GREET = FunctionStatus(
    name="greet",
    version="abc",
    triggers=(),
    template="ready",
    loaded_each="",
    shared=(),
    instances=IDLE,
    starts={"fork": 1, "warm": 9},
    outcomes={"ok": 10},
    failures={},
    last_failure="",
    memory_kb=2048,
    cpu_s=1.0,
    ran_s=2.0,
    waited_s=0.5,
)


def status(*functions: FunctionStatus, uptime_s: float = 10.0, **fields: Any) -> Status:
    own: dict[str, Any] = {"pid": 7, "draining": False, "isolation": Isolation("limits", (), {}), "zygotes_kb": 0}
    return Status(uptime_s=uptime_s, functions=functions, **(own | fields))


LATER = replace(
    GREET,
    starts={"fork": 2, "warm": 12, "load": 1},
    outcomes={"ok": 13, "error": 2, "throttled": 1},
    cpu_s=2.0,
    ran_s=3.0,
    waited_s=0.6,
)


def test_of_instances_with_several_slots_it_says_how_many_are_taken() -> None:
    busy = replace(IDLE, busy=2, starting=1, calls=620)
    column = FUNCTION_HEADINGS.index("BUSY")
    assert str(function_row(replace(GREET, instances=busy, slots=500))[column]) == "3 620/1000"
    assert str(function_row(replace(GREET, instances=IDLE, slots=500))[column]) == "0"
    assert str(function_row(replace(GREET, instances=replace(busy, calls=2)))[column]) == "3"


def test_spares_and_what_met_them_are_apart() -> None:
    row = dict(
        zip(FUNCTION_HEADINGS, function_row(replace(GREET, spares=4, instances=replace(IDLE, spare=2))), strict=True)
    )
    assert (row["IDLE"], row["STARTS"]) == ("1+2", "fork:1 spare:4 warm:5")


def test_rates_are_of_the_time_between() -> None:
    found = rates(GREET, LATER, 2.0)
    assert (found.calls_per_s, found.failed_per_s, found.cpu) == (3.0, 1.5, 0.5)
    assert found.cold == pytest.approx(0.4)
    assert found.run_ms == pytest.approx(200.0)
    assert found.wait_ms == pytest.approx(20.0)


def test_nothing_called_has_no_means() -> None:
    still = Rates(calls_per_s=0.0, failed_per_s=0.0, cold=None, wait_ms=None, run_ms=None, cpu=0.0)
    assert rates(GREET, GREET, 2.0) == still


@pytest.mark.parametrize("before", [None, replace(LATER, outcomes={"ok": 99})], ids=["new", "begun anew"])
def test_a_function_that_begins_counts_from_nothing(before: FunctionStatus | None) -> None:
    assert rates(before, GREET, 2.0).calls_per_s == 5.0


def test_who_is_called_most_is_first() -> None:
    other, quiet = replace(GREET, name="a"), replace(GREET, name="b")
    before, now = status(other, GREET), status(other, quiet, LATER, uptime_s=12.0)
    found = rows(before, now)
    assert [row[0] for row in found] == ["b", "greet", "a"]
    assert all(len(row) == len(HEADINGS) for row in found)
    assert found[1] == ("greet", "3.0", "1.5", "40%", "20.0 ms", "200.0 ms", "50%", "1", "0", "0", "2.0 MiB")
    assert found[2][1:6] == ("0.0", "0.0", "-", "-", "-")
    assert total_per_s(before, now) == 8.0


def test_what_is_wrong_catches_the_eye() -> None:
    failed = replace(
        LATER,
        template="ImportModuleError: no",
        loaded_each="threads of grpc",
        retired={"memory": 3, "invocations": 20},
        last_failure="error/KeyError: 'x'",
    )
    row = function_row(failed)
    assert (row[2], tone_of(row[2]), row[8], tone_of(row[8])) == ("failed", "red", "3", "red")
    assert tone_of(function_row(GREET)[8]) == "dim"
    assert notes(status(failed)) == [
        "greet: ImportModuleError: no",
        "greet: instances are loaded one by one, not forked: the import left threads of grpc",
        "greet: instances replaced: 3 for their memory (retire_memory) and 20 after their max_invocations",
        "greet: last failure: error/KeyError: 'x'",
    ]


def test_queues_that_are_worth_a_row() -> None:
    def queue(name: str, **fields: Any) -> QueueStatus:
        return QueueStatus(queue=name, function="f", dead_letter="dead", **fields)

    orders = queue("orders", ready=2, running=0, delayed=0, dead=1, oldest_age_s=63.0)
    lost = queue("forklight.inbox.g", problem="not connected")
    found = queue_rows((orders, queue("forklight.inbox.f", ready=0), lost))
    assert [tuple(row) for row in found] == [
        ("orders", "f", "2", "0", "0", "1", "1m03s"),
        ("forklight.inbox.g", "f", "unknown", "unknown", "unknown", "unknown", "unknown"),
    ]
    assert [tone_of(cell) for cell in found[0][2:6]] == ["", "dim", "dim", "red"]


def test_outcomes_of_timers() -> None:
    timer = TimerStatus(function="f", name="t", schedule="* * * * *", timezone="UTC")
    told = [replace(timer, running=True), timer, replace(timer, outcome="ok"), replace(timer, outcome="error/KeyError")]
    assert [(one, one.tone) for one in map(told_outcome, told)] == [
        ("running", "green"),
        ("-", ""),
        ("ok", ""),
        ("error/KeyError", "red"),
    ]


def test_a_table_is_as_wide_as_the_terminal_at_most() -> None:
    assert table(("A", "B"), [("xxxx", "yyyy")]) == ["\x1b[2mA   \x1b[0m  \x1b[2mB\x1b[0m", "xxxx  yyyy"]
    assert table(("A", "B"), [("xxxx", "yyyy")], 7)[1] == "xxxx  y"
    assert table(("A", "B"), [("xxxx", "yyyy")], 3)[1] == "xxx"


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0.9, 59, 3599, 7380)] == ["0m00s", "0m59s", "59m59s", "2h03m"]
