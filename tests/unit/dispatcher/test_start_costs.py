"""How long before an announced event its instance starts: twice the slowest recent start, within bounds."""

from datetime import timedelta

from dispatcher.start_costs import LEAST_LEAD_NS, MOST_LEAD_NS, REMEMBERED, StartCosts
from triggers.timer import announcements

S = 1_000_000_000


def test_until_a_load_was_seen_it_may_take_all_of_its_time() -> None:
    assert StartCosts().leads(30, has_template=False).start_ns == 30 * S
    assert StartCosts().leads(900, has_template=False).start_ns == MOST_LEAD_NS


def test_a_function_that_loads_slowly_is_started_early_unless_only_a_fork_is_left() -> None:
    costs = StartCosts()
    costs.note("boot", 20 * S)
    costs.note("fork", 3 * S)

    assert costs.leads(60, has_template=False).start_ns == 40 * S
    assert costs.leads(60, has_template=True).start_ns == 6 * S
    assert costs.leads(60, has_template=True).rest_ns == 40 * S, "its template stays so long before an event"


def test_the_lead_has_a_floor_and_a_ceiling() -> None:
    costs = StartCosts()
    costs.note("load", 1_000)
    assert costs.leads(60, has_template=False).start_ns == LEAST_LEAD_NS
    costs.note("load", 1_000 * S)
    assert costs.leads(60, has_template=False).start_ns == MOST_LEAD_NS


def test_a_start_that_was_slow_once_is_forgotten_after_some_others() -> None:
    costs = StartCosts()
    costs.note("fork", 9 * S)
    for _ in range(REMEMBERED):
        costs.note("fork", 2 * S)

    assert costs.largest_ns("fork") == 2 * S
    assert costs.largest_ns("load") is None


def test_timers_announce_early_enough_for_any_pool() -> None:
    assert timedelta(microseconds=MOST_LEAD_NS // 1000) < announcements.AHEAD - announcements.SLACK
