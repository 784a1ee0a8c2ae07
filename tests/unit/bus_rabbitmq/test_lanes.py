"""Whatever the order of messages and settlements, a session holds no more than can run and starves neither queue."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.rabbitmq.expected import Retries
from bus.rabbitmq.lanes import Cancel, Consume, Lane, Lanes, new_tag
from bus.rabbitmq.places import FIRST, Places
from bus.store import TAKEN_BYTES

ALL = frozenset(Lane)


class World:
    """A broker with two queues that fills the room of each consumer, and handlers of any duration."""

    def __init__(self, prefetch: int, own: int, retries: int, *, keep_one: bool = False, size_bytes: int = 0) -> None:
        self.now_s = 0.0
        self.size_bytes = size_bytes
        self.ready = {Lane.OWN: own, Lane.RETRY: retries}
        self.lanes = Lanes(Places(prefetch), Retries(), keep_one=keep_one, now_s=0.0)
        self.lanes.retries_wait = retries > 0
        self.running: deque[str] = deque()
        self.done = {Lane.OWN: 0, Lane.RETRY: 0}

    def deliver(self) -> None:
        for tag, taker in tuple(self.lanes.takers.items()):
            queue = Lane.RETRY if taker.lane is Lane.RETRY else Lane.OWN
            while taker.is_active and taker.unsettled < taker.prefetch and self.ready[queue]:
                self.ready[queue] -= 1
                self.lanes.took(tag, self.now_s, self.size_bytes)
                self.running.append(tag)

    def advance(self, elsewhere: int = 0) -> None:
        while step := self.lanes.step(self.now_s, ALL, elsewhere):
            if isinstance(step, Cancel):
                for tag in step.tags:
                    self.lanes.end(tag)
            else:
                self.lanes.add(new_tag(step.lane), step, self.now_s)
            self.deliver()

    def finish_one(self) -> None:
        tag = self.running.popleft()
        self.done[Lane.RETRY if self.lanes.takers[tag].lane is Lane.RETRY else Lane.OWN] += 1
        self.lanes.settled(tag, self.now_s)
        self.deliver()


@pytest.mark.invariant("I23")
@settings(max_examples=60)
@given(
    prefetch=st.integers(1, 9),
    own=st.integers(0, 40),
    retries=st.integers(0, 40),
    finishing=st.lists(st.integers(0, 3), max_size=60),
    elsewhere=st.integers(0, 9),
)
def test_no_more_are_held_than_can_run_and_all_are_run(
    prefetch: int, own: int, retries: int, finishing: list[int], elsewhere: int
) -> None:
    world = World(prefetch, own, retries)
    for count in finishing:
        world.advance(elsewhere)
        assert len(world.running) <= max(0, prefetch - elsewhere)
        for _ in range(min(count, len(world.running))):
            world.finish_one()
            assert len(world.running) <= max(0, prefetch - elsewhere)
        world.now_s += 0.1
    for _ in range(1000):
        world.advance()
        assert len(world.running) <= prefetch
        if world.running:
            world.finish_one()
        world.now_s += 0.1
    assert world.done == {Lane.OWN: own, Lane.RETRY: retries}
    assert not world.running


@pytest.mark.invariant("I23")
@given(st.integers(1, 100))
def test_without_retries_all_places_are_the_own_queues(prefetch: int) -> None:
    world = World(prefetch, 1000, 0)
    world.advance()
    assert len(world.running) == prefetch


@pytest.mark.invariant("I23")
@given(st.integers(2, 100))
def test_retries_get_half_of_the_places_and_the_own_queue_the_rest(prefetch: int) -> None:
    world = World(prefetch, 1000, 1000)
    world.advance()
    lanes = [world.lanes.takers[tag].lane for tag in world.running]
    assert lanes.count(Lane.RETRY) == prefetch // 2
    assert lanes.count(Lane.BASE) == prefetch - prefetch // 2


def test_with_one_place_neither_queue_starves() -> None:
    world = World(1, 50, 50)
    for _ in range(60):
        world.advance()
        if world.running:
            world.finish_one()
        world.now_s += 0.2
    assert min(world.done.values()) > 10


@pytest.mark.invariant("I23")
@given(st.integers(1, 9))
def test_a_queue_that_may_vanish_is_never_without_a_consumer(prefetch: int) -> None:
    world = World(prefetch, 5, 5, keep_one=True)
    for _ in range(50):
        world.advance()
        assert world.lanes.active(Lane.BASE)
        paused = world.lanes.to_pause()
        assert not set(paused.tags) & set(world.lanes.active(Lane.BASE))
        assert len(world.running) <= max(2, prefetch)
        if world.running:
            world.finish_one()
        world.now_s += 0.1
    assert world.done == {Lane.OWN: 5, Lane.RETRY: 5}


def test_an_inbox_that_is_gone_leaves_its_retries() -> None:
    world = World(1, 0, 1)
    there = frozenset({Lane.RETRY})
    assert world.lanes.step(0.0, there, 0) == Consume(Lane.RETRY, 1)
    assert world.lanes.step(9.0, there, 0) == Consume(Lane.RETRY, 1)


def test_a_retry_is_taken_when_it_is_due() -> None:
    world = World(4, 0, 0)
    world.advance()
    world.lanes.retries.add(2.0)
    assert world.lanes.step(1.9, ALL, 0) is None
    assert isinstance(world.lanes.step(2.0, ALL, 0), Cancel)
    assert world.lanes.retries.next_s(2.0, 3.0) == 3.0


@pytest.mark.invariant("I23")
@settings(max_examples=25, deadline=None)
@given(prefetch=st.integers(33, 9000), size_bytes=st.sampled_from([1, 10_000, 100_000, 1_000_000, 30_000_000]))
def test_what_is_held_is_bounded_in_bytes_too(prefetch: int, size_bytes: int) -> None:
    world = World(prefetch, 500, 50, size_bytes=size_bytes)
    world.advance()
    most = max(FIRST * size_bytes, TAKEN_BYTES)
    while world.running:
        assert len(world.running) * size_bytes <= most
        world.finish_one()
        world.now_s += 0.1
        world.advance()
    assert (world.done[Lane.OWN], world.done[Lane.RETRY]) == (500, 50)


def test_small_messages_fill_all_places_at_once() -> None:
    world = World(8000, 20_000, 0, size_bytes=1000)
    world.advance()
    assert len(world.running) > 4000


def test_messages_that_become_large_get_fewer_places() -> None:
    world = World(8000, 20_000, 0, size_bytes=1000)
    world.advance()
    world.size_bytes = 1_000_000
    for _ in range(15_000):
        world.finish_one()
        world.advance()
    assert len(world.running) <= TAKEN_BYTES // 500_000
