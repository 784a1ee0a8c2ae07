"""Instances that are not shared: one for each event, or one for each key. `test_pool_keys_machine.py` has the rest."""

from typing import Any

from dispatcher.actions import Assign, Fail, Leave, Refuse, Start, Statistics
from dispatcher.bindings import PATIENCE_NS, TURN_NS
from dispatcher.keys import Reuse
from dispatcher.pool import Pool
from dispatcher.settings import PoolSettings

S = 1_000_000_000
SPARE = Start(ahead=True, spare=True)
KEY = Reuse("key:header.x-session")


def make_pool(**settings: Any) -> "Pool[str, str]":
    """A pool at time 0, without spares unless they are set. Tickets and members are names; a key is a letter."""
    return Pool(PoolSettings(**{"spare": 0, "reuse": KEY, **settings}), 0)


def with_instances(*keys: str, **settings: Any) -> "Pool[str, str]":
    """A pool with an idle instance for each key, named after it; they came free one second apart, starting at 0."""
    pool = make_pool(**settings)
    for second, key in enumerate(keys):
        pool.wait(f"first of {key}", 0, 0, key=key)
        pool.started(key, 0)
        pool.freed(key, second * S)
    return pool


def test_with_reuse_never_each_instance_ends_after_one_event() -> None:
    pool = make_pool(reuse=Reuse("never"), spare=1, max_instances=2)
    pool.wait("a", 0, 0)

    assert pool.started("one", 0) == [Assign("a", "one"), SPARE]
    assert pool.started("two", 0) == []
    assert pool.freed("one", 1) == [Leave("one")]
    assert pool.take() is None
    assert pool.wait("b", 2, 2) == [Assign("b", "two"), SPARE]
    assert pool.started("three", 3) == []
    assert pool.wait("c", 4, 4) == [], "one runs and one is ending"
    assert pool.died("one", 5, 5) == [Assign("c", "three"), SPARE]


def test_a_key_has_one_instance_which_runs_its_events_in_order() -> None:
    pool = with_instances("k")

    assert pool.take_of("k") == "k"
    assert pool.take_of("k") is None
    assert pool.wait("a", 1, 1, key="k") == []
    assert pool.wait("b", 2, 2, key="k") == []
    assert pool.freed("k", 3) == [Assign("a", "k")]
    assert pool.freed("k", 4) == [Assign("b", "k")]
    assert pool.freed("k", 5) == []
    assert pool.statistics() == Statistics(starting=0, idle=1, busy=0, leaving=0, waiting=0, calls=0)


def test_only_the_first_event_of_a_key_seeks_an_instance() -> None:
    pool = make_pool()

    assert pool.wait("a", 0, 0, key="k") == [Start()]
    assert pool.wait("b", 1, 1, key="k") == []
    assert pool.wait("c", 2, 2, key="m") == [Start()]
    assert pool.started("one", 3) == [Assign("a", "one")]
    assert pool.started("two", 3) == [Assign("c", "two")]
    assert pool.freed("one", 4) == [Assign("b", "one")]


def test_an_event_without_a_key_has_an_instance_of_its_own_that_ends_after_it() -> None:
    pool = with_instances("k")

    assert pool.wait("a", 1, 1) == [Start()]
    assert pool.wait("b", 1, 1) == [Start()]
    assert pool.started("one", 2) == [Assign("a", "one")]
    assert pool.freed("one", 3) == [Leave("one")]


def test_an_instance_of_a_key_idles_out() -> None:
    pool = with_instances("k", keep_alive_s=10)

    assert pool.next_tick_ns(0) == 10 * S
    assert pool.tick(10 * S) == [Leave("k")]
    assert pool.take_of("k") is None
    assert pool.wait("a", 11 * S, 11 * S, key="k") == [Start()]


def test_an_instance_that_is_retired_serves_its_key_no_more() -> None:
    pool = with_instances("k", "busy")
    pool.take_of("busy")

    assert pool.retire("k", 1) == [Leave("k")]
    assert pool.wait("a", 1, 1, key="k") == [Start()]
    assert pool.retire("busy", 2) == []
    assert pool.freed("busy", 3) == [Leave("busy")]


def test_the_longest_idle_instance_makes_room_for_another_key() -> None:
    pool = with_instances("old", "new", max_instances=2)

    assert pool.room(2 * S) == 2
    assert pool.wait("a", 2 * S, 2 * S, key="k") == [Leave("old")]
    assert pool.died("old", 3 * S, 3 * S) == [Start()]
    assert pool.started("one", 3 * S) == [Assign("a", "one")]
    assert pool.wait("b", 4 * S, 4 * S, key="old") == [Leave("new")]


def test_if_all_are_busy_an_event_of_another_key_waits() -> None:
    pool = with_instances("k", max_instances=1)
    pool.take_of("k")

    assert pool.wait("a", 1, 1, key="m") == []
    assert pool.freed("k", 2) == [Leave("k")]
    assert pool.died("k", 3, 3) == [Start()]


def test_a_busy_key_does_not_starve_the_others() -> None:
    pool = with_instances("k", max_instances=1)
    pool.take_of("k")
    for ticket, key in (("a", "k"), ("b", "m"), ("c", "k")):
        pool.wait(ticket, 1, 1, key=key)

    assert pool.freed("k", 2) == [Assign("a", "k")]
    assert pool.freed("k", 1 + PATIENCE_NS) == [Leave("k")]
    pool.died("k", 2 * S, 2 * S)
    assert pool.started("one", 2 * S) == [Assign("b", "one")]


def test_under_overload_keys_take_turns_instead_of_starting_an_instance_for_each_event() -> None:
    pool = with_instances("k", max_instances=1)
    pool.take_of("k")
    for number, ticket in enumerate(["k0", "m0", "k1", "m1", "k2", "m2"]):
        pool.wait(ticket, number, number, key=ticket[0])

    late_ns = 10 * S  # all have waited for longer than an instance waits for events of its own key
    assert pool.freed("k", late_ns) == [Assign("k0", "k")]
    assert pool.freed("k", late_ns) == [Leave("k")], "m0 is older than k1"
    pool.died("k", late_ns, late_ns)
    assert pool.started("m", late_ns) == [Assign("m0", "m")]
    assert pool.freed("m", late_ns + TURN_NS - 1) == [Assign("m1", "m")]
    assert pool.freed("m", late_ns + TURN_NS) == [Leave("m")], "k1 is older than m2"


def test_the_next_event_of_a_key_whose_instance_was_killed_gets_a_new_one() -> None:
    pool = with_instances("k")
    pool.take_of("k")
    pool.wait("a", 1, 1, key="k")

    assert pool.died("k", 2, 2) == [Start()]
    assert pool.started("one", 3) == [Assign("a", "one")]


def test_nothing_is_kept_of_a_withdrawn_event() -> None:
    pool = make_pool(max_instances=1)
    pool.wait("a", 0, 0, key="k")
    pool.wait("b", 1, 1, key="k")
    pool.withdraw("a")

    assert pool.started("one", 2) == [Assign("b", "one")]


def test_what_waits_for_its_key_refuses_no_event_that_can_have_an_instance() -> None:
    pool = with_instances("k", max_instances=2, max_waiting=1)
    pool.take_of("k")

    assert pool.wait("a", 1, 1, key="k") == []
    assert pool.wait("b", 1, 1, key="k") == [Refuse("b", "QueueFull")]
    assert pool.wait("c", 1, 1, key="m") == [Start()]


def test_while_the_function_cannot_load_only_keys_with_an_instance_are_served() -> None:
    pool = with_instances("k")
    pool.take_of("k")
    pool.wait("a", 1, 1, key="k")
    pool.wait("b", 1, 1, key="m")

    assert pool.start_failed(2, 5 * S, hopeless=True) == [Fail("b")]
    assert pool.freed("k", 3) == [Assign("a", "k")]


def test_a_renewal_keeps_the_events_of_a_key_in_order() -> None:
    pool = with_instances("k")
    pool.take_of("k")
    pool.wait("a", 1, 1, key="k")
    pool.wait("b", 1, 1, key="m")
    settings = PoolSettings(reuse=KEY, spare=0)

    assert pool.renew(settings, [], 2, {"a": "k", "b": "m"}.get) == [Start()]
    assert pool.started("one", 3) == [Assign("b", "one")]
    assert pool.freed("k", 4) == [Leave("k"), Start()]


def test_a_renewal_can_begin_and_end_the_sharing_of_instances() -> None:
    pool = with_instances("k", "m", max_instances=2)
    shared = PoolSettings(spare=0, max_instances=2)
    assert pool.wait("a", 1, 1, key="n") == [Leave("k")]

    assert pool.renew(shared, [], 2) == [Leave("m"), Start()]
    assert pool.started("one", 3) == [Assign("a", "one")]
    pool.freed("one", 4)
    assert pool.take() == "one"
    assert pool.renew(PoolSettings(spare=0, reuse=Reuse("never")), [], 5) == []
    assert pool.wait("b", 6, 6) == [Start()]
