"""The names of our queues on a broker contain the application's, whatever both are; other queues keep their names."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bus.message import UNDELIVERED, dead_queue, inbox
from bus.rabbitmq.names import MAX_BYTES, Names, bounded, safe

SHOP = Names("shop")
FUNCTIONS = st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def test_queues_of_ours_carry_the_application() -> None:
    assert SHOP.queue(inbox("ship")) == "forklight.shop.inbox.ship"
    assert SHOP.queue(dead_queue("ship")) == "forklight.shop.dead.ship"
    assert SHOP.queue(UNDELIVERED) == "forklight.shop.undelivered"
    assert SHOP.retry("ship", "orders") == "forklight.shop.retry.ship.orders"


@pytest.mark.parametrize("name", ["orders", "forklight.other.inbox.ship", "forklight.inbox.a.b", "größe", ""])
def test_others_keep_their_names(name: str) -> None:
    assert (SHOP.queue(name), SHOP.house(name), SHOP.is_ours(name)) == (name, name, False)


@pytest.mark.invariant("I24")
@given(TEXTS, FUNCTIONS)
def test_the_house_name_of_a_queue_comes_back(application: str, function: str) -> None:
    names = Names(safe(application))
    for name in (inbox(function), dead_queue(function), UNDELIVERED):
        queue = names.queue(name)
        assert names.is_ours(queue)
        assert (names.house(queue), names.queue(queue)) == (name, queue)


@pytest.mark.invariant("I24")
@given(FUNCTIONS, FUNCTIONS, FUNCTIONS)
def test_no_two_applications_share_a_queue(one: str, other: str, function: str) -> None:
    names, others = Names(safe(one)), Names(safe(other))
    every = {names.queue(inbox(function)), names.retry(function, "q"), names.entry, names.due, names.lost, names.claim}
    if names != others:
        assert not any(map(others.is_ours, every))
    old = {inbox(function), dead_queue(function), f"forklight.retry.{function}.q", "forklight.delay", "forklight.due"}
    assert not every & old


@pytest.mark.invariant("I24")
@given(TEXTS, TEXTS, FUNCTIONS)
def test_every_name_fits_into_amqp(application: str, queue: str, function: str) -> None:
    names = Names(safe(application))
    assert safe(application).isascii()
    assert len(names.retry(function, queue).encode()) <= MAX_BYTES
    if len(queue.encode()) > MAX_BYTES:
        assert names.retry(function, queue) != names.retry(function, queue[:-1] + "?" + queue[-1:])


@pytest.mark.parametrize(
    ("name", "sanitised"), [("Shop", "shop"), ("my app (v2)", "my-app-v2"), ("inbox", "inbox-app"), ("a.b", "a-b")]
)
def test_an_applications_name_is_made_one_for_queues(name: str, sanitised: str) -> None:
    assert safe(name) == sanitised


def test_names_that_lose_letters_stay_apart() -> None:
    assert len({safe(name) for name in ("größe", "grüße", "日本", "", "x" * 64, "x" * 65)}) == 6


def test_a_name_that_fits_is_left_alone() -> None:
    assert bounded("x" * 255) == "x" * 255
    assert len(bounded("é" * 128).encode()) <= MAX_BYTES


@pytest.mark.invariant("I24")
@given(FUNCTIONS, TEXTS)
@example("f", "é" * 120)
@example("f", "é" * 120 + "x")
@example("f", "x" + "\U0001f600" * 70)
def test_whose_retries_a_queue_is_for(function: str, queue: str) -> None:
    queue = SHOP.queue(queue)
    assert SHOP.retried(SHOP.retry(function, queue)) in (None, (function, queue))
    assert SHOP.retried(SHOP.retry(function, queue[:20])) == (function, queue[:20])
    assert SHOP.retried(queue) is None
