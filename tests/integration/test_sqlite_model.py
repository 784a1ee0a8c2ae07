"""The embedded store against a model of it that keeps everything in lists, step by step.

Two queues with one consumer each, time that stands still between steps, and every step followed by a question to the
store: its answer comes after whatever the step made ready, so that consumers get exactly what the model says.
"""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus.message import REASON, Delivery, Message, Outgoing
from bus.retry import Ack, Dead, Decision, Release, Retry
from bus.sqlite import SqliteStore, open_sqlite
from bus.sqlite.store import SqliteConsumer
from bus.store import Settlement, Source
from tests.kit.stores import HandClock

pytestmark = pytest.mark.any_user

QUEUES = ("a", "b")
PREFETCH = 3
DELAYS = (0.0, 0.0, 1.0, 5.0)


class Entry:
    """One message in the model; `key` orders those that are due at the same time."""

    def __init__(self, key: int, queue: str, due_ns: int, stored_ns: int) -> None:
        self.id = f"m{key}"
        self.key = key
        self.queue = queue
        self.due_ns = due_ns
        self.stored_ns = stored_ns
        self.attempts = 0
        self.first_error = ""
        self.maybe_run = False


class Hands:
    """A consumer in the model, and what it has handed out."""

    def __init__(self) -> None:
        self.handed: list[Entry] = []
        self.is_paused = False

    @property
    def room(self) -> int:
        return 0 if self.is_paused else PREFETCH - len(self.handed)


class StoreMachine(RuleBasedStateMachine):
    """Each rule does the same to both."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="forklight-test-")
        self.clock = HandClock()
        self.entries: list[Entry] = []
        self.hands: dict[str, Hands] = {}
        self.in_hand: list[Delivery] = []
        self.lost: list[Delivery] = []
        self.last_key = 0
        self.last: tuple[int, int] | None = None
        """Store time and wall clock when the store was closed."""

    @initialize()
    def begin(self) -> None:
        self.runner.run(self.open())
        for queue in QUEUES:
            self.runner.run(self._come(queue))

    def teardown(self) -> None:
        self.runner.run(self.close())
        self.runner.close()
        self.folder.cleanup()

    async def open(self) -> None:
        self.stack = AsyncExitStack()
        self.store: SqliteStore = await self.stack.enter_async_context(
            open_sqlite(Path(self.folder.name) / "store.db", self.clock.clocks)
        )
        self.ahead_ns = self._opened_at_ns() - self.clock.monotonic_ns
        self.consumers: dict[str, SqliteConsumer] = {}
        self.consuming: dict[str, AsyncExitStack] = {}

    def _opened_at_ns(self) -> int:
        """Store time goes on as the wall clock does; if they are over a minute apart, all times move to the latter."""
        wall_ns = self.clock.wall_ns
        was_ns = wall_ns if self.last is None else self.last[0] + max(0, wall_ns - self.last[1])
        by_ns = wall_ns - was_ns
        if abs(by_ns) <= 60 * 10**9:
            return max(was_ns, wall_ns)
        for entry in self.entries:
            if by_ns > 0:
                entry.due_ns += by_ns if entry.due_ns > was_ns else 0
                entry.stored_ns += by_ns
                continue
            if entry.due_ns > wall_ns and (entry.stored_ns > wall_ns or entry.attempts):
                entry.due_ns += by_ns
            entry.stored_ns += by_ns if entry.stored_ns > wall_ns else 0
        return wall_ns

    async def close(self) -> None:
        if hasattr(self, "ahead_ns"):
            self.last = self.now_ns, self.clock.wall_ns
        for consuming in self.consuming.values():
            await consuming.aclose()
        await self.stack.aclose()

    @property
    def now_ns(self) -> int:
        return self.clock.monotonic_ns + self.ahead_ns

    def leased(self) -> list[Entry]:
        return [entry for hands in self.hands.values() for entry in hands.handed]

    def add(self, queue: str, delay_s: float) -> Outgoing:
        self.last_key += 1
        entry = Entry(self.last_key, queue, self.now_ns + int(delay_s * 1e9), self.now_ns)
        self.entries.append(entry)
        return Outgoing(queue=queue, message=Message(id=entry.id, headers={"own": entry.key}), delay_s=delay_s)

    @rule(sends=st.lists(st.tuples(st.sampled_from(QUEUES), st.sampled_from(DELAYS)), min_size=1, max_size=6))
    def publish(self, sends: list[tuple[str, float]]) -> None:
        self.runner.run(self.store.publish([self.add(queue, delay_s) for queue, delay_s in sends]))

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-7200.0, -3.0, 3.0, 7200.0]))
    def wall_clock_is_set(self, seconds: float) -> None:
        self.clock.set_wall(seconds)

    @precondition(lambda self: len(self.hands) < len(QUEUES))
    @rule()
    def come(self) -> None:
        for queue in set(QUEUES) - self.hands.keys():
            self.runner.run(self._come(queue))

    @rule(rare=st.sampled_from(["go", "reopen", "take all out"]), queue=st.sampled_from(QUEUES))
    def disturb(self, rare: str, queue: str) -> None:
        if rare == "reopen":
            self._reopen()
        elif rare == "take all out":
            self._take_all_out(queue)
        elif queue in self.hands:
            self.runner.run(self._go(queue))

    async def _come(self, queue: str) -> None:
        self.hands[queue] = Hands()
        self.consuming[queue] = AsyncExitStack()
        self.consumers[queue] = await self.consuming[queue].enter_async_context(
            self.store.consume(Source(queue=queue, function="f", dead_letter="b"), PREFETCH)
        )

    async def _go(self, queue: str) -> None:
        for entry in self.hands.pop(queue).handed:
            entry.maybe_run = True
        self.lost += [each for each in self.in_hand if each.queue == queue]
        self.in_hand = [each for each in self.in_hand if each.queue != queue]
        del self.consumers[queue]
        await self.consuming.pop(queue).aclose()

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def pause_or_resume(self, data: Any) -> None:
        queue = data.draw(st.sampled_from(sorted(self.hands)))
        hands, consumer = self.hands[queue], self.consumers[queue]
        self.runner.run(consumer.resume() if hands.is_paused else consumer.pause())
        hands.is_paused = not hands.is_paused

    @precondition(lambda self: self.in_hand or any(map(self._ready, self.hands)))
    @rule(data=st.data(), count=st.integers(0, PREFETCH))
    def work(self, data: Any, count: int) -> None:
        self._take_some(count)
        if self.in_hand:
            self._settle_some(data)

    def _take_some(self, count: int) -> None:
        for queue, hands in self.hands.items():
            wanted = max(0, min(count, hands.room))
            for entry in self._ready(queue)[:wanted]:
                self._take(entry, self.consumers[queue].next_nowait())
                hands.handed.append(entry)
            if wanted < count:
                assert self.consumers[queue].next_nowait() is None

    def _take(self, entry: Entry, delivery: Delivery | None) -> None:
        assert delivery is not None
        assert delivery.message.id == entry.id
        assert (delivery.attempt, delivery.first_error) == (entry.attempts + 1, entry.first_error)
        assert delivery.redelivered == entry.maybe_run
        assert delivery.message.headers["own"] == int(entry.id[1:])
        assert delivery.stored_at_s is not None
        self.in_hand.append(delivery)

    def _settle_some(self, data: Any) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.in_hand), max_size=4, unique_by=id))
        decision = st.sampled_from(
            [Ack(), Retry(0.0, "again"), Retry(5.0, "later"), Release(0.0), Dead("Attempts", "never")]
        )
        decisions = [data.draw(decision) for _ in chosen]
        outputs = [data.draw(st.sampled_from([(), ("a",), ("b", "a")])) for _ in chosen]
        for delivery, one in zip(chosen, decisions, strict=True):
            self.in_hand.remove(delivery)
            self.lost.append(delivery)
            self._decide(delivery, one)
        settlements = [
            Settlement(delivery, one, tuple(self.add(queue, 0.0) for queue in sent))
            for delivery, one, sent in zip(chosen, decisions, outputs, strict=True)
        ]
        self.runner.run(self.store.settle(settlements))

    def _decide(self, delivery: Delivery, decision: Decision) -> None:
        handed = self.hands[delivery.queue].handed
        [entry] = [each for each in handed if each.id == delivery.message.id]
        handed.remove(entry)
        match decision:
            case Ack():
                self.entries.remove(entry)
            case Retry(delay_s, error):
                entry.due_ns = self.now_ns + int(delay_s * 1e9)
                entry.first_error = entry.first_error or error
                entry.attempts += 1
                entry.maybe_run = False
            case Dead():
                entry.queue, entry.due_ns, entry.stored_ns = "b", self.now_ns, self.now_ns
                entry.attempts, entry.first_error, entry.maybe_run = 0, "", False

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def settle_what_is_not_leased_any_more(self, data: Any) -> None:
        delivery = data.draw(st.sampled_from(self.lost))
        output = Outgoing(queue="a", message=Message(id="never"))
        self.runner.run(self.store.settle([Settlement(delivery, Ack(), (output,))]))

    def _take_all_out(self, queue: str) -> None:
        leased = self.leased()
        gone = [
            each for each in self.entries if each.queue == queue and each.due_ns <= self.now_ns and each not in leased
        ]
        self.entries = [each for each in self.entries if each not in gone]
        assert self.runner.run(self.store.take_out(queue, None)) == len(gone)

    def _reopen(self) -> None:
        self.hands, self.lost, self.in_hand = {}, [], []
        for entry in self.entries:
            entry.maybe_run = False
        self.runner.run(self.close())
        self.runner.run(self.open())

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "store"):
            return
        for queue in QUEUES:
            self.runner.run(self.store.statistics(queue))
        for queue in QUEUES:
            self.runner.run(self._compare(queue))

    def _ready(self, queue: str) -> list[Entry]:
        leased = self.leased()
        ready = [
            each for each in self.entries if each.queue == queue and each.due_ns <= self.now_ns and each not in leased
        ]
        return sorted(ready, key=lambda each: (each.due_ns, each.key))

    async def _compare(self, queue: str) -> None:
        ready = self._ready(queue)
        hands = self.hands.get(queue, Hands())
        found = await self.store.statistics(queue)
        assert (found.ready, found.running) == (len(ready), len(hands.handed))
        assert found.delayed == sum(each.queue == queue and each.due_ns > self.now_ns for each in self.entries)
        oldest_s = (self.now_ns - ready[0].due_ns) / 1e9 if ready else None
        assert found.oldest_age_s == (None if oldest_s is None else pytest.approx(oldest_s))
        stored = await self.store.browse(queue, 100)
        assert [each.message.id for each in stored] == [each.id for each in ready]
        for each, entry in zip(stored, ready, strict=True):
            assert each.stored_at_s is not None
            age_s = self.clock.wall_ns / 1e9 - each.stored_at_s
            assert age_s == pytest.approx((self.now_ns - entry.stored_ns) / 1e9, abs=1e-3)
            assert (REASON in each.message.headers) <= (queue == "b")


TestStoreMachine = pytest.mark.invariant("I19")(pytest.mark.timeout(300)(StoreMachine.TestCase))
StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
