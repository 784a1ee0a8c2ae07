"""The budget: what has room, who is next, and what goes first."""

from collections.abc import Sequence

import pytest

from dispatcher.budget import LEAST_BYTES, STUCK_NS, Booking, Budget, Limits
from dispatcher.relief import SETTLED_NS, TURN_NS, Holder, Idle, relieve, value

MIB = LEAST_BYTES
NOW_NS = 10**12


def budget(*owners: str, memory_mib: int | None = None, places: int | None = None, **limits: int) -> Budget[str, str]:
    memory_bytes = None if memory_mib is None else memory_mib * MIB
    made: Budget[str, str] = Budget(Limits(memory_bytes=memory_bytes, max_instances=places, **limits))
    for owner in owners:
        made.open(owner, 0)
    return made


def admitted(made: Budget[str, str], owner: str, now_ns: int = NOW_NS, *, loads: bool = False) -> Booking[str]:
    booking = made.admit(owner, now_ns, loads=loads)
    assert booking is not None
    return booking


def start(made: Budget[str, str], *members: str, size_mib: int = 1, now_ns: int = NOW_NS) -> None:
    """Members such as `f1` are of the function `f`."""
    for member in members:
        made.started(admitted(made, member[0], now_ns), member, now_ns)
        made.measured(member, size_mib * MIB)


def holder(
    owner: str,
    idle: Sequence[tuple[str, int]] = (),
    busy: Sequence[str] = (),
    *,
    reserved: int = 0,
    cost_s: float = 0.003,
) -> Holder[str, str]:
    """`idle`: members and their uses, idle for long."""
    ones = [Idle(member, uses, NOW_NS - 10 * TURN_NS) for member, uses in idle]
    return Holder(
        owner=owner, surplus=len(ones) + len(busy) - reserved, start_cost_s=cost_s, idle=ones, busy=list(busy)
    )


def test_one_instance_beyond_the_reserved_ones_has_room_whatever_templates_hold() -> None:
    made = budget("f", "g", memory_mib=4)
    made.open("f", 1)
    made.charge_fixed(6 * MIB)
    start(made, "f1")
    assert not made.has_spare_room("g", NOW_NS, loads=False)
    start(made, "g1")
    assert made.admit("g", NOW_NS, loads=False) is None
    made.ended("g1")
    assert made.next(NOW_NS) == "g"
    made.ended("f1")
    assert made.admit("f", NOW_NS, loads=False) is not None, "the first of all"


def test_the_first_reserved_one_of_a_function_has_room_whatever_the_others_hold() -> None:
    made = budget("f", "g", memory_mib=4)
    made.open("f", 1)
    made.open("g", 2)
    start(made, "f1", size_mib=4)
    start(made, "g1")
    assert made.admit("g", NOW_NS, loads=False) is None


def test_a_start_has_room_while_the_charges_fit() -> None:
    made = budget("f", "g", memory_mib=12)
    made.charge_fixed(6 * MIB)
    start(made, "f1", size_mib=3)
    start(made, "g1")
    assert made.admit("f", NOW_NS, loads=False) is None, "it may become as large as the first"
    assert made.lack() == "memory"
    assert made.admit("g", NOW_NS, loads=False) is None, "nothing overtakes the first"
    made.withdraw("f")
    assert made.admit("g", NOW_NS, loads=False) is not None


def test_one_instance_always_has_room() -> None:
    made = budget("f", memory_mib=10)
    made.charge_fixed(20 * MIB)
    start(made, "f1")
    assert made.admit("f", NOW_NS, loads=False) is None


def test_the_estimate_follows_what_instances_have_had() -> None:
    made = budget("f")
    start(made, "f1", size_mib=9)
    assert made.estimate_bytes("f") == 9 * MIB
    made.measured("f1", MIB)
    made.ended("f1")
    assert made.estimate_bytes("f") == 8 * MIB
    assert (made.charged_bytes, made.count) == (0, 0)


def test_a_function_without_a_template_starts_one_instance_first() -> None:
    made = budget("f", "g", "h", loads=2, forks=8)
    first = admitted(made, "f", loads=True)
    assert made.admit("f", NOW_NS, loads=True) is None
    assert made.lack() is None, "it waits for its own load only"
    admitted(made, "g", loads=True)
    assert made.admit("h", NOW_NS, loads=True) is None
    assert made.next(NOW_NS) is None
    assert made.next(NOW_NS + STUCK_NS) == "h", "loads that take so long need no processor"
    made.started(first, "f1", NOW_NS)
    assert made.next(NOW_NS) == "h"
    admitted(made, "h", loads=True)
    admitted(made, "f")


def test_the_function_with_the_fewest_instances_is_next() -> None:
    made = budget("f", "g", "h", places=3)
    start(made, "f1", "f2", "g1")
    for owner in "fgh":
        assert made.admit(owner, NOW_NS, loads=False) is None
    assert made.waiting() == ["h", "g", "f"]
    made.ended("f1")
    assert made.next(NOW_NS) == "h"


def test_the_least_value_goes_first() -> None:
    assert value(0, 1.0, MIB) < value(1, 0.003, 100 * MIB) < value(1, 0.003, MIB) < value(1, 1.0, MIB)
    made = budget("f", "g", "h", places=4)
    start(made, "f1", "f2", "g1", "g2")
    made.measured("f1", 5 * MIB)
    assert made.admit("h", NOW_NS, loads=False) is None
    uses, gone = {"f1": 7, "f2": 7, "g1": 8, "g2": 0}, []
    while uses:
        holders = [holder(owner, [(one, uses[one]) for one in uses if one[0] == owner]) for owner in "fgh"]
        ((owner, member),) = relieve(made, holders, NOW_NS).evicted
        assert relieve(made, holders, NOW_NS).evicted == [], "the room of one is coming"
        assert member[0] == owner
        gone.append(member)
        made.ended(member)
        made.place("h", f"h{len(gone)}", MIB, NOW_NS)
        del uses[member]
    assert gone == ["g2", "f1", "f2", "g1"]


def test_what_was_just_used_keeps_its_turn() -> None:
    made = budget("f", "g", places=1)
    start(made, "f1")
    assert made.admit("g", NOW_NS, loads=False) is None
    just = Holder(owner="f", surplus=1, start_cost_s=0.003, idle=[Idle("f1", 7, NOW_NS)], busy=[])
    relief = relieve(made, [just, holder("g")], NOW_NS)
    assert (relief.evicted, relief.again_ns) == ([], NOW_NS + SETTLED_NS)
    assert relieve(made, [just, holder("g")], NOW_NS + SETTLED_NS).evicted == [("f", "f1")]


@pytest.mark.parametrize(("cost_s", "turn_ns"), [(0.003, TURN_NS), (0.5, 5 * 10**9), (60.0, 5 * 10**9)])
def test_a_busy_one_is_given_up_after_its_turn(cost_s: float, turn_ns: int) -> None:
    made = budget("f", "g", places=1)
    start(made, "f1")
    assert made.admit("g", NOW_NS, loads=False) is None
    f = holder("f", busy=["f1"], cost_s=cost_s)
    relief = relieve(made, [f, holder("g")], NOW_NS)
    assert (relief.given_up, relief.again_ns) == ([], NOW_NS + turn_ns)
    assert relieve(made, [f, holder("g")], NOW_NS + turn_ns).given_up == [("f", "f1")]


def test_a_function_that_has_some_gets_more_only_to_be_level() -> None:
    made = budget("f", "g", places=4)
    start(made, "f1", "f2", "f3", "g1", now_ns=NOW_NS - TURN_NS)
    assert made.admit("g", NOW_NS, loads=False) is None
    f = holder("f", busy=["f1", "f2", "f3"])
    assert relieve(made, [f, holder("g", busy=["g1"])], NOW_NS).given_up == [("f", "f1")]
    made.ended("f1")
    start(made, "g2")
    assert made.admit("g", NOW_NS, loads=False) is None
    f = holder("f", busy=["f2", "f3"])
    assert relieve(made, [f, holder("g", busy=["g1", "g2"])], NOW_NS + TURN_NS).given_up == []


def test_a_reserved_one_never_goes() -> None:
    made = budget("f", "g", places=2)
    made.open("f", 2)
    start(made, "f1", "f2")
    assert made.admit("g", NOW_NS, loads=False) is None
    relief = relieve(made, [holder("f", [("f1", 0)], ["f2"], reserved=2), holder("g")], NOW_NS + 10 * TURN_NS)
    assert (relief.evicted, relief.given_up) == ([], [])


def test_who_cannot_have_room_holds_up_nobody() -> None:
    """Nothing can make room for the second reserved one, which is large: the small one of another need not wait."""
    made = budget("f", "h", memory_mib=12)
    made.open("f", 2)
    start(made, "f1", size_mib=5)
    made.charge_fixed(5 * MIB)
    assert made.admit("f", NOW_NS, loads=False) is None
    assert made.admit("h", NOW_NS, loads=False) is None
    relieve(made, [holder("f", [("f1", 9)], reserved=2), holder("h")], NOW_NS)
    assert made.next(NOW_NS) == "h"


def test_growth_beyond_the_budget_ends_idle_instances() -> None:
    made = budget("f", "g", memory_mib=10)
    start(made, "f1", "g1", "g2")
    made.measured("f1", 12 * MIB)
    assert made.is_over
    relief = relieve(made, [holder("f", busy=["f1"]), holder("g", [("g1", 1), ("g2", 2)])], NOW_NS)
    assert (relief.evicted, relief.given_up) == ([("g", "g1"), ("g", "g2")], [])
