"""Instances that are ready ahead of the events that need them."""

from typing import Any

from dispatcher.actions import Assign, Leave, Start, Statistics
from dispatcher.keys import Reuse
from dispatcher.pool import Pool
from dispatcher.settings import PoolSettings

S = 1_000_000_000
RESERVED, SPARE = Start(ahead=True), Start(ahead=True, spare=True)


def make_pool(**settings: Any) -> "Pool[str, str]":
    """A pool at time 0. Tickets and members are names."""
    return Pool(PoolSettings(**settings), 0)


def active(**settings: Any) -> "Pool[str, str]":
    """A pool with one idle instance and a spare."""
    pool = make_pool(**settings)
    pool.wait("first", 0, 0)
    pool.started("used", 0)
    pool.started("spare", 0)
    pool.freed("used", 0)
    return pool


def test_a_spare_starts_once_the_first_event_has_its_instance() -> None:
    pool = make_pool()

    assert pool.wait("a", 0, 0) == [Start()]
    assert pool.started("one", 1) == [Assign("a", "one"), SPARE]
    assert pool.started("two", 2) == []
    assert pool.statistics() == Statistics(starting=0, idle=0, busy=1, leaving=0, waiting=0, calls=1, spare=1)


def test_an_event_takes_an_idle_instance_before_a_spare_which_is_replaced() -> None:
    pool = active()

    assert pool.take() == "used"
    assert pool.take() is None
    assert pool.wait("a", 1, 1) == [Assign("a", "spare"), SPARE]


def test_instances_and_spares_together_are_no_more_than_max_instances() -> None:
    pool = active(max_instances=2, spare=3)

    pool.take()
    assert pool.wait("a", 1, 1) == [Assign("a", "spare")]
    assert pool.room(1) == 0
    assert pool.next_tick_ns(1) is None


def test_no_spare_starts_while_an_event_waits_for_a_start() -> None:
    pool = make_pool()
    pool.wait("a", 0, 0)
    pool.wait("b", 0, 0)

    assert pool.started("one", 1) == [Assign("a", "one")]
    assert pool.started("two", 2) == [Assign("b", "two"), SPARE]


def test_a_reserved_instance_that_has_run_nothing_is_a_spare() -> None:
    pool = make_pool(reserved=2)
    assert pool.tick(0) == [RESERVED, RESERVED]
    pool.started("one", 0)
    pool.started("two", 0)

    assert pool.wait("a", 1, 1) == [Assign("a", "one")]
    assert pool.wait("b", 1, 1) == [Assign("b", "two"), SPARE]


def test_a_function_at_rest_has_no_spare_and_what_is_reserved_stays_as_it_is() -> None:
    pool = active(keep_alive_s=10, reserved=1)

    assert pool.tick(9 * S) == []
    assert pool.next_tick_ns(9 * S) == 10 * S
    assert pool.tick(10 * S) == [Leave("spare")], "the instance that was used stays"
    assert pool.next_tick_ns(10 * S) is None


def test_a_spare_stays_for_keep_alive_after_the_last_instance_had_its_last_event() -> None:
    pool = active(keep_alive_s=10, max_invocations=1)
    pool.take()
    pool.close("used")
    pool.freed("used", 5 * S)
    pool.died("used", 6 * S, 6 * S)

    assert pool.next_tick_ns(6 * S) == 15 * S
    assert pool.tick(15 * S) == [Leave("spare")]


def test_where_nothing_is_kept_alive_there_are_no_spares() -> None:
    pool = make_pool(keep_alive_s=0)
    pool.wait("a", 0, 0)

    assert pool.started("one", 0) == [Assign("a", "one")]


def test_spares_go_at_once_when_the_machine_is_short_of_memory_but_not_the_reserved_ones() -> None:
    pool = active(spare=2, reserved=2)
    pool.started("third", 0)

    assert pool.hold_spares(True, 1) == [Leave("spare")]
    assert pool.next_tick_ns(1) is None
    pool.died("spare", 2, 2)
    assert pool.hold_spares(False, 3) == [SPARE]


def test_a_spare_that_dies_is_replaced_after_the_back_off() -> None:
    pool = active()

    assert pool.died("spare", 1 * S, 4 * S) == []
    assert pool.next_tick_ns(1 * S) == 4 * S
    assert pool.tick(4 * S) == [SPARE]


def test_a_renewed_function_that_was_in_use_has_spares_of_the_new_version() -> None:
    pool = active()

    assert pool.renew(PoolSettings(), [], 1 * S) == [Leave("spare"), Leave("used"), SPARE]


def test_a_burst_makes_no_more_than_max_instances_and_spares() -> None:
    for reuse, most in (("always", 8), ("never", 9), ("key:header.k", 9)):
        pool = make_pool(max_instances=8, reuse=Reuse(reuse), max_waiting=500)
        starts = [start for n in range(500) for start in pool.wait(f"{n}", n, n, key=f"{n}")]
        assert starts == [Start()] * 8
        for n in range(8):
            starts += [start for start in pool.started(f"i{n}", 500 + n) if isinstance(start, Start)]
        assert len(starts) == most
