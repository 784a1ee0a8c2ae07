"""A pool whose function is renewed or removed."""

from typing import Any

from dispatcher.actions import Assign, Leave, Rest, Start, Statistics
from dispatcher.pool import Pool
from dispatcher.settings import PoolSettings

S = 1_000_000_000


def make_pool(*idle: str, **settings: Any) -> "Pool[str, str]":
    """A pool at time 0 with these idle instances. Tickets and members are names."""
    pool: Pool[str, str] = Pool(PoolSettings(**{"spare": 0, **settings}), 0)
    for member in idle:
        pool.wait(member, 0, 0)
    for member in idle:
        pool.started(member, 0)
    for member in idle:
        pool.freed(member, 0)
    return pool


def renewed(pool: "Pool[str, str]", *fresh: str, **settings: Any) -> list[Any]:
    return list(pool.renew(PoolSettings(**{"spare": 0, **settings}), fresh, 1 * S))


def test_outdated_idle_instances_go_and_fresh_ones_take_their_place() -> None:
    pool = make_pool("old", reserved=1)

    assert renewed(pool, "new", reserved=1) == [Leave("old")]
    assert pool.spares() == ["new"]
    assert pool.is_leaving("old")


def test_an_outdated_instance_goes_after_what_it_runs_and_takes_up_room_until_then() -> None:
    pool = make_pool("old", max_instances=1)
    pool.take()
    assert renewed(pool, max_instances=1) == []

    assert pool.wait("a", 1 * S, 1 * S) == []
    assert pool.freed("old", 2 * S) == [Leave("old"), Start()]
    assert pool.started("new", 2 * S) == [Assign("a", "new")]


def test_what_waits_is_run_by_the_new_version() -> None:
    pool = make_pool("old", max_instances=2)
    pool.take()
    pool.wait("a", 0, 0)
    pool.wait("b", 0, 0)

    assert renewed(pool, "new", max_instances=3) == [Assign("a", "new"), Start()]


def test_starts_of_the_old_version_are_not_waited_for() -> None:
    pool = make_pool()
    assert pool.wait("a", 0, 0) == [Start()]

    assert renewed(pool) == [Start()]
    assert pool.statistics().starting == 1


def test_fresh_instances_never_run_beside_more_than_may() -> None:
    pool = make_pool("old", max_instances=1, reserved=1)
    pool.take()

    assert renewed(pool, "new", max_instances=1, reserved=1) == [Leave("new")]
    assert pool.take() is None


def test_an_outdated_instance_that_goes_takes_up_no_room() -> None:
    pool = make_pool("old", max_instances=1, max_waiting=0)
    renewed(pool, max_instances=1, max_waiting=0)

    assert pool.room(1 * S) == 1
    assert pool.wait("a", 1 * S, 1 * S) == [Start()]
    assert pool.statistics() == Statistics(starting=1, idle=0, busy=0, leaving=1, waiting=1, calls=0)


def test_what_is_reserved_is_not_made_up_of_outdated_instances() -> None:
    pool = make_pool("old", reserved=1)
    pool.take()

    assert renewed(pool, reserved=1) == [Start(ahead=True)]


def test_the_death_of_an_outdated_instance_holds_no_refill_back() -> None:
    pool = make_pool("old", reserved=1, max_instances=1)
    pool.take()
    renewed(pool, reserved=1, max_instances=1)

    assert pool.died("old", 2 * S, 60 * S) == [Start(ahead=True)]
    assert pool.members() == []


def test_a_function_that_could_not_load_is_tried_again_at_once() -> None:
    pool = make_pool()
    pool.wait("a", 0, 0)
    pool.start_failed(0, 60 * S, hopeless=True)

    assert renewed(pool) == []
    assert pool.wait("b", 1 * S, 1 * S) == [Start()]


def test_winding_up_runs_what_was_accepted_and_then_leaves_nothing() -> None:
    pool = make_pool("one", max_instances=1, reserved=1, keep_alive_s=60)
    pool.take()
    pool.wait("waiting", 0, 0)

    assert pool.wind_up(1 * S) == []
    assert pool.freed("one", 2 * S) == [Assign("waiting", "one")]
    assert pool.freed("one", 3 * S) == []
    assert pool.tick(3 * S) == [Leave("one")]
    assert pool.died("one", 4 * S, 60 * S) == []
    assert pool.tick(4 * S) == [Rest()]


def test_an_outdated_instance_finishes_all_its_calls() -> None:
    pool = make_pool("old", max_instances=1, concurrency=3)
    pool.take()
    pool.take()
    assert renewed(pool, max_instances=1, concurrency=2) == []

    assert pool.take() is None
    assert pool.wait("a", 1 * S, 1 * S) == []
    assert pool.freed("old", 2 * S) == []
    assert pool.freed("old", 3 * S) == [Leave("old"), Start()]
    assert pool.started("new", 4 * S) == [Assign("a", "new")]


def test_waiting_events_fill_the_slots_of_fresh_instances() -> None:
    pool = make_pool(max_instances=1, concurrency=2)
    for ticket in "abcde":
        pool.wait(ticket, 0, 0)

    assert renewed(pool, "new", max_instances=2, concurrency=3) == [
        Assign("a", "new"),
        Assign("b", "new"),
        Assign("c", "new"),
        Start(),
    ]
