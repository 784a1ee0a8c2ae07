"""The rules of a pool, one by one. `test_pool_machine.py` tests them together."""

from typing import Any

from dispatcher.actions import Assign, Fail, Leave, Refuse, Rest, Start, Statistics
from dispatcher.announced import LATE_NS
from dispatcher.pool import Pool
from dispatcher.settings import PoolSettings
from dispatcher.start_costs import Leads

S = 1_000_000_000
AHEAD = Start(ahead=True)


def make_pool(**settings: Any) -> "Pool[str, str]":
    """A pool at time 0, without spares unless they are set. Tickets and members are names."""
    return Pool(PoolSettings(**{"spare": 0, **settings}), 0)


def with_idle(*members: str, **settings: Any) -> "Pool[str, str]":
    """A pool whose members came free one second apart, starting at 0."""
    pool = make_pool(**settings)
    for second, member in enumerate(members):
        pool.wait("first event", 0, 0)
        pool.started(member, 0)
        pool.freed(member, second * S)
    return pool


def test_an_event_takes_the_instance_that_was_used_last() -> None:
    pool = make_pool(keep_alive_s=10)
    for member in ("a", "b"):
        pool.wait(f"for {member}", 0, 0)
    assert pool.started("a", 0) == [Assign("for a", "a")]
    assert pool.started("b", 0) == [Assign("for b", "b")]
    pool.freed("b", 1 * S)
    pool.freed("a", 2 * S)

    assert (pool.take(), pool.take(), pool.take()) == ("a", "b", None)


def test_without_an_idle_instance_one_is_started_while_there_is_room() -> None:
    pool = make_pool(max_instances=2)

    assert [pool.wait(ticket, 0, 0) for ticket in "abc"] == [[Start()], [Start()], []]


def test_whichever_comes_first_serves_the_first_in_line() -> None:
    pool = with_idle("old", max_instances=2)
    pool.take()
    pool.wait("a", 5, 5)
    pool.wait("b", 6, 6)

    assert pool.freed("old", 7) == [Assign("a", "old")]
    assert pool.started("new", 8) == [Assign("b", "new")]


def test_the_line_is_bounded() -> None:
    """Events that could run at once do not count: each has a start of its own."""
    pool = make_pool(max_instances=2, max_waiting=1)
    for ticket in "abc":
        pool.wait(ticket, 0, 0)

    assert pool.wait("d", 0, 0) == [Refuse("d", "QueueFull")]


def test_the_memory_of_the_line_is_bounded() -> None:
    """An event is never refused for its own size, and one that is withdrawn makes room."""
    pool = make_pool(max_instances=1, max_waiting_memory_bytes=10)
    pool.wait("a", 0, 0, size_bytes=100)
    assert pool.wait("b", 0, 0, size_bytes=1) == [Refuse("b", "QueueFull")]
    assert pool.started("one", 0) == [Assign("a", "one")]

    assert [pool.wait(ticket, 0, 0, size_bytes=6) for ticket in "cd"] == [[], []]
    assert pool.wait("e", 0, 0) == [Refuse("e", "QueueFull")]
    pool.withdraw("c")
    assert pool.wait("f", 0, 0, size_bytes=100) == []


def test_without_a_line_events_still_start_instances() -> None:
    pool = make_pool(max_instances=1, max_waiting=0)

    assert pool.wait("a", 0, 0) == [Start()]
    assert pool.wait("b", 0, 0) == [Refuse("b", "QueueFull")]


def test_who_waited_too_long_is_refused() -> None:
    pool = make_pool(max_wait_s=3)
    pool.wait("a", 0, 1 * S)

    assert pool.next_tick_ns(1 * S) == 3 * S
    assert pool.tick(3 * S) == [Refuse("a", "WaitExpired")]


def test_an_event_that_met_a_dead_instance_keeps_its_place_in_line() -> None:
    pool = with_idle("dead", max_instances=1, max_waiting=1, max_wait_s=100)
    pool.take()
    pool.wait("later", 2, 2)

    assert pool.wait("again", 1, 3, again=True) == []
    assert pool.died("dead", 4, 4) == [Start()]
    assert pool.started("new", 5) == [Assign("again", "new")]


def test_a_withdrawn_event_leaves_its_start_to_the_next() -> None:
    pool = make_pool()
    pool.wait("a", 0, 0)
    pool.withdraw("a")

    assert pool.started("new", 1) == []
    assert pool.wait("b", 2, 2) == [Assign("b", "new")]


def test_an_instance_goes_when_it_has_idled_for_long_enough() -> None:
    pool = with_idle("a", keep_alive_s=10)

    assert pool.next_tick_ns(0) == 10 * S
    assert pool.tick(10 * S) == [Leave("a")]
    assert pool.is_leaving("a")
    assert pool.died("a", 11 * S, 11 * S) == []
    assert pool.statistics() == Statistics(0, 0, 0, 0, 0, 0)


def test_reserved_instances_are_started_at_once_and_never_go() -> None:
    pool = make_pool(reserved=2, keep_alive_s=0)

    assert pool.tick(0) == [AHEAD, AHEAD]
    pool.started("a", 1)
    pool.started("b", 1)
    assert pool.tick(100 * S) == []
    assert pool.next_tick_ns(100 * S) is None


def test_a_dead_reserved_instance_is_replaced_after_its_back_off() -> None:
    pool = make_pool(reserved=1)
    pool.tick(0)
    pool.started("a", 0)

    assert pool.died("a", 1 * S, 4 * S) == []
    assert pool.next_tick_ns(1 * S) == 4 * S
    assert pool.tick(4 * S) == [AHEAD]


def test_waiting_events_do_not_wait_for_that_back_off() -> None:
    pool = make_pool(reserved=1)
    pool.tick(0)
    pool.started("a", 0)
    pool.died("a", 1 * S, 4 * S)

    assert pool.wait("event", 2 * S, 2 * S) == [Start()]


def test_a_spent_instance_leaves_and_what_is_reserved_is_started_before_it_ends() -> None:
    pool = make_pool(reserved=1)
    pool.tick(0)
    pool.started("a", 0)
    pool.wait("event", 0, 0)
    pool.close("a")

    assert pool.freed("a", 1) == [Leave("a"), AHEAD]


def test_while_it_cannot_load_events_fail_at_once() -> None:
    pool = make_pool()
    pool.wait("a", 0, 0)

    assert pool.start_failed(1 * S, 5 * S, hopeless=True) == [Fail("a")]
    assert pool.wait("b", 2 * S, 2 * S) == [Fail("b")]
    assert pool.room(2 * S) == 0
    assert pool.next_tick_ns(2 * S) == 5 * S, "its capacity comes back then, and somebody waits for that"
    assert pool.tick(5 * S) == []
    assert pool.room(5 * S) == 8
    assert pool.wait("c", 6 * S, 6 * S) == [Start()]


def test_while_it_cannot_load_a_living_instance_still_serves_those_who_wait() -> None:
    pool = with_idle("a")
    pool.take()
    pool.wait("b", 1, 1)

    assert pool.start_failed(2, 5 * S, hopeless=True) == []
    assert pool.wait("c", 3, 3) == []
    assert pool.freed("a", 4) == [Assign("b", "a")]
    assert pool.died("a", 5, 5) == [Fail("c")], "nobody is left who could serve it"


def test_a_start_that_succeeds_after_another_failed_shows_that_it_can_load() -> None:
    pool = make_pool()
    for ticket in "abc":
        pool.wait(ticket, 0, 0)
    pool.started("first", 1)
    pool.start_failed(2, 5 * S, hopeless=True)

    assert pool.started("second", 3) == [Assign("b", "second"), Start()]


def test_while_the_machine_has_no_room_events_wait_on() -> None:
    pool = make_pool()
    pool.wait("a", 0, 0)

    assert pool.start_failed(1 * S, 2 * S, hopeless=False) == []
    assert pool.wait("b", 1 * S, 1 * S) == []
    assert pool.next_tick_ns(1 * S) == 2 * S
    assert pool.tick(2 * S) == [Start(), Start()]


def test_an_instance_is_made_ready_for_an_announced_event_and_held() -> None:
    pool = make_pool(keep_alive_s=0)
    pool.announced.leads = Leads(start_ns=3 * S)
    pool.announced.add(10 * S)

    assert pool.next_tick_ns(0) == 7 * S
    assert pool.tick(7 * S) == [AHEAD]
    pool.started("a", 8 * S)
    assert pool.tick(10 * S) == [], "the event is just about to come"
    assert pool.next_tick_ns(10 * S) == 10 * S + LATE_NS
    assert pool.tick(10 * S + LATE_NS) == [Leave("a")], "it did not"


def test_nothing_is_held_any_more_once_the_announced_event_has_come() -> None:
    pool = with_idle("a", keep_alive_s=0)
    pool.announced.add(S)
    assert pool.tick(0) == []
    assert pool.take() == "a"
    pool.freed("a", 2 * S)

    assert pool.tick(2 * S) == [Leave("a")]


def test_a_template_stays_for_an_announced_event_that_would_come_before_it_could_be_made_again() -> None:
    pool = make_pool(rest="none", template_keep_alive_s=1)
    pool.announced.leads = Leads(start_ns=2 * S, rest_ns=40 * S)
    pool.announced.add(50 * S)

    assert pool.tick(10 * S) == []
    assert pool.next_tick_ns(10 * S) == 48 * S
    pool.announced.add(200 * S)
    pool.announced.forget(100 * S)
    assert pool.tick(100 * S) == [Rest()]


def test_one_announcement_does_not_hide_another() -> None:
    pool = make_pool()
    pool.announced.add(100 * S)
    pool.announced.add(10 * S)
    pool.tick(10 * S)
    pool.tick(10 * S + LATE_NS)

    assert pool.next_tick_ns(10 * S + LATE_NS) == 98 * S


def test_a_function_that_rests_without_processes_drops_its_template_too() -> None:
    pool = with_idle("a", rest="none", keep_alive_s=1, template_keep_alive_s=5)
    pool.take()
    pool.freed("a", 10 * S)

    assert pool.tick(11 * S) == [Leave("a")]
    assert pool.next_tick_ns(11 * S) is None, "not before it has left"
    pool.died("a", 12 * S, 12 * S)
    assert pool.next_tick_ns(12 * S) == 15 * S
    assert pool.tick(15 * S) == [Rest()]
    assert pool.next_tick_ns(15 * S) is None


def test_room_is_what_could_run_now() -> None:
    pool = with_idle("a", max_instances=3)
    assert pool.room(0) == 3
    pool.take()
    pool.wait("b", 1, 1)
    assert pool.room(1) == 1
    for ticket in "cd":
        pool.wait(ticket, 1, 1)
    assert pool.room(1) == 0


def test_a_pool_shows_its_state() -> None:
    pool = with_idle("a", "b", max_instances=2)
    pool.take()
    assert repr(pool) == "<Pool: 1 idle, 1 busy, 0 starting, 0 leaving, 0 events waiting>"
    pool = make_pool(rest="none", template_keep_alive_s=1)
    pool.wait("c", 0, 0)
    pool.start_failed(1 * S, 5 * S, hopeless=True)
    assert repr(pool) == "<Pool: 0 idle, 0 busy, 0 starting, 0 leaving, 0 events waiting, cannot load>"
    pool.tick(6 * S)
    assert repr(pool) == "<Pool: 0 idle, 0 busy, 0 starting, 0 leaving, 0 events waiting, at rest>"


def test_a_burst_starts_as_many_instances_as_its_slots_need() -> None:
    pool = make_pool(max_instances=3, concurrency=2)

    assert [pool.wait(ticket, 0, 0) for ticket in "abcdefg"] == [[Start()], [], [Start()], [], [Start()], [], []]
    assert pool.started("one", 1) == [Assign("a", "one"), Assign("b", "one")]
    assert pool.statistics() == Statistics(starting=2, idle=0, busy=1, leaving=0, waiting=5, calls=2)


def test_one_instance_is_filled_before_another_is_used() -> None:
    pool = with_idle("old", "new", concurrency=3)

    assert [pool.take() for _ in range(7)] == ["new", "new", "new", "old", "old", "old", None]
    for second, member in enumerate(("old", "new", "old"), 5):
        pool.freed(member, second * S)
    assert [pool.take() for _ in range(4)] == ["new", "old", "old", None], "of two busy ones, that which was full last"


def test_a_busy_instance_with_a_free_slot_is_taken_before_an_idle_one() -> None:
    pool = with_idle("old", "new", concurrency=2, keep_alive_s=10)
    pool.take()
    pool.take()
    pool.freed("new", 2 * S)

    assert pool.take() == "new"
    assert pool.tick(10 * S) == [Leave("old")], "the surplus ages out"


def test_an_instance_is_idle_when_it_has_no_call() -> None:
    pool = with_idle("a", concurrency=3, keep_alive_s=10)
    for _ in range(3):
        pool.take()
    pool.freed("a", 5 * S)
    pool.freed("a", 6 * S)
    assert pool.tick(30 * S) == []

    pool.freed("a", 40 * S)
    assert pool.next_tick_ns(40 * S) == 50 * S
    assert pool.tick(50 * S) == [Leave("a")]


def test_a_closed_instance_finishes_its_calls_and_gets_no_more() -> None:
    pool = with_idle("a", concurrency=3, max_instances=1)
    pool.take()
    pool.take()
    pool.close("a")

    assert pool.take() is None
    assert pool.room(1) == 0
    assert pool.wait("b", 1, 1) == []
    assert pool.freed("a", 2) == []
    assert pool.freed("a", 3) == [Leave("a")]
    assert pool.died("a", 4, 4) == [Start()]


def test_a_retired_instance_ends_after_its_calls_and_an_idle_one_at_once() -> None:
    pool = with_idle("a", concurrency=3, max_instances=1)
    pool.take()
    pool.take()
    assert pool.retire("a", 1) == []
    assert pool.take() is None
    assert pool.freed("a", 2) == []
    assert pool.freed("a", 3) == [Leave("a")]

    pool = with_idle("b", reserved=1)
    assert pool.retire("b", 1) == [Leave("b"), Start(ahead=True)]
    assert pool.retire("b", 2) == [], "it is leaving already"


def test_no_instance_gets_more_events_at_once_than_it_may_ever_run() -> None:
    pool = make_pool(concurrency=10, max_invocations=2, max_instances=5)

    assert [pool.wait(ticket, 0, 0) for ticket in "abc"] == [[Start()], [], [Start()]]
    assert pool.started("one", 1) == [Assign("a", "one"), Assign("b", "one")]


def test_what_ran_in_a_dead_instance_frees_no_slot() -> None:
    pool = with_idle("a", concurrency=2, max_instances=1)
    pool.take()
    pool.take()
    pool.wait("b", 1, 1)

    assert pool.died("a", 2, 2) == [Start()]
    assert pool.started("new", 3) == [Assign("b", "new")]
    assert pool.take() == "new"


def test_room_counts_slots() -> None:
    pool = with_idle("a", concurrency=5, max_instances=2)
    assert pool.room(0) == 10
    pool.take()
    assert pool.room(0) == 9
    pool.close("a")
    assert pool.room(0) == 5, "the free slots of a closed instance are lost"


def test_the_line_is_bounded_beyond_the_slots() -> None:
    pool = make_pool(concurrency=2, max_instances=1, max_waiting=1)

    assert [pool.wait(ticket, 0, 0) for ticket in "abcd"] == [[Start()], [], [], [Refuse("d", "QueueFull")]]


def test_a_free_slot_is_ready_for_an_announced_event() -> None:
    """No instance is started or kept for it beside one that has room."""
    pool = with_idle("old", "new", concurrency=2, keep_alive_s=1)
    pool.take()
    pool.announced.add(10 * S)

    assert pool.tick(9 * S) == [Leave("old")]
    pool.take()
    assert pool.tick(9 * S) == [AHEAD]
