"""The ladder of delays delivers every message to its queue, never early and only a little late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.rabbitmq.delays import LONGEST_S, LOWEST, Binding, Exchange, Queue, ladder, routing_key, steps
from bus.rabbitmq.names import Names

NAMES = Names("shop")

DELAYS = st.floats(0.0001, LONGEST_S)


@pytest.mark.invariant("I25")
@given(DELAYS)
def test_a_delay_is_met_within_a_few_per_cent(delay_s: float) -> None:
    taken_s = sum(2**number for number in steps(delay_s)) / 1000
    assert delay_s - 1e-9 <= taken_s <= delay_s * 1.04 + 2**LOWEST / 1000 + 0.001


@pytest.mark.invariant("I25")
@given(DELAYS)
def test_a_path_goes_down_in_few_steps(delay_s: float) -> None:
    path = steps(delay_s)
    assert 1 <= len(path) <= 7
    assert sorted(set(path), reverse=True) == list(path)


@pytest.mark.parametrize("delay_s", [0.0, -1.0])
def test_no_delay_has_no_steps(delay_s: float) -> None:
    assert steps(delay_s) == ()


def test_too_long_a_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        steps(LONGEST_S * 1.01)


def matches(pattern: str, key: str) -> bool:
    """Return whether a topic exchange routes this key by this binding."""

    def match(words: list[str], keys: list[str]) -> bool:
        if not words:
            return not keys
        if words[0] == "#":
            return match(words[1:], keys) or bool(keys and match(words, keys[1:]))
        return bool(keys) and words[0] == keys[0] and match(words[1:], keys[1:])

    return match(pattern.split("."), key.split("."))


@pytest.mark.invariant("I25")
@given(st.lists(DELAYS, min_size=1, max_size=5))
def test_each_message_passes_its_own_levels_whatever_others_have_made(delays: list[float]) -> None:
    pieces = {piece: None for delay_s in delays for piece in ladder(NAMES, steps(delay_s), "to")}
    bindings = [piece for piece in pieces if isinstance(piece, Binding)]
    for delay_s in delays:
        key, exchange, passed = routing_key(steps(delay_s)), NAMES.entry, []
        while exchange != NAMES.due:
            [target] = {one.target for one in bindings if one.source == exchange and matches(one.key, key)}
            if isinstance(target, Queue):
                assert target.level is not None
                passed.append(target.level)
                exchange = str(target.arguments()["x-dead-letter-exchange"])
            else:
                exchange = target.name
        assert tuple(passed) == steps(delay_s)


def test_pieces_are_made_after_what_they_refer_to() -> None:
    made: set[str] = set()
    for piece in ladder(NAMES, (9, 7), "to"):
        if isinstance(piece, Binding):
            assert {piece.source, piece.target.name} <= made
        elif isinstance(piece, Exchange):
            assert piece.alternate in ("", *made)
            made.add(piece.name)
        else:
            made.add(piece.name)
            assert piece.level is None or piece.arguments()["x-dead-letter-exchange"] in made


def test_a_level_dead_letters_at_least_once() -> None:
    assert Queue("forklight.shop.delay.10", 10).arguments() == {
        "x-queue-type": "quorum",
        "x-message-ttl": 1024,
        "x-dead-letter-exchange": "forklight.shop.delay.10",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


@pytest.mark.invariant("I25")
@given(DELAYS)
def test_what_no_exchange_of_a_ladder_can_route_is_kept(delay_s: float) -> None:
    pieces = ladder(NAMES, steps(delay_s), "to")
    exchanges = {piece for piece in pieces if isinstance(piece, Exchange)}
    assert {one.alternate for one in exchanges if one.name != NAMES.lost} == {NAMES.lost}
    assert Binding(NAMES.lost, Queue(NAMES.lost)) in pieces
