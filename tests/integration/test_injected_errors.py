"""No exception leaves a task of the server: errors that no code expects, at every await of those who serve."""

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup

from bus.bus import Bus, Pool
from bus.event import Event
from bus.outcome import Failed, Ok, Outcome, Output
from bus.rabbitmq import open_rabbitmq
from bus.retry import RetryPolicy
from bus.store import Store, StoreError
from tests.kit.consuming import trigger
from tests.kit.injecting import injecting
from tests.kit.pools import Roomy
from tests.kit.stores import LIMIT_S, StoreFactory, fresh, message, to
from tests.kit.support import until
from tests.kit.targets import Awaiting
from tests.kit.timers import FactsFile, every_minute, ticking
from triggers.queue import QueueConsumer

MOST_AWAITS = 400
"""More than a scenario has, so that each ends by itself."""


class Handler(Awaiting):
    """In the dispatcher's place: `bad` fails in each batch, one with `busy` is throttled once; each sends."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._was_busy = False
        self.tried: set[str] = set()
        self.done: set[str] = set()

    async def call(self, event: Event) -> Outcome:
        await asyncio.sleep(0.001)
        ids = {item.id for item in event.items or ()}
        self.tried |= ids
        if "busy" in ids and not self._was_busy:
            self._was_busy = True
            return Failed(kind="throttled", code="QueueFull", message="busy", retry_after_s=0.01)
        self.done |= ids - {"bad"}
        failures = b'{"failures":["bad"]}' if "bad" in ids else b"null"
        output = Output("send", f"{self._queue}.out", "text/plain", b"done")
        return Ok(body=failures, content_type="application/json", outputs=(output,))

    def version(self, function: str, wanted: str) -> str:
        return ""

    def pool(self, function: str) -> Pool:
        return Roomy(2)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.keeping.PAUSE_S", 0.01)
    monkeypatch.setattr("triggers.queue.consumer._AGAIN_S", 0.01)
    monkeypatch.setattr("triggers.timer.runner.STORE_AGAIN_S", 0.01)


@pytest.mark.parametrize("task", ["Batches._gather", "Work._work", "Pace.keep"])
async def test_a_consumer_goes_on_whatever_its_tasks_meet(
    stores: StoreFactory, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = 0
    async with stores() as store:
        for at in range(MOST_AWAITS):
            caplog.clear()
            with injecting(at, task) as injection:
                await _consume_all(store, fresh())
            if not injection.thrown_in:
                break
            told += "InjectedError" in caplog.text
    assert told > at / 2, "but for those that a library keeps to itself as it closes something"


@pytest.mark.parametrize("task", ["bus.rabbitmq.store._run", "Link.run", "Claim.keep", "Publisher.publish"])
async def test_a_broker_is_used_on_whatever_the_tasks_of_its_store_meet(amqp_url: str, task: str) -> None:
    for at in range(MOST_AWAITS):
        with injecting(at, task) as injection:
            async with open_rabbitmq(amqp_url) as store:
                await _consume_all(store, fresh())
        if not injection.thrown_in:
            assert at > 0
            return


async def _consume_all(store: Store, queue: str) -> None:
    """A consumer that handles, tries again, gives up and sends on; one message comes while the others are handled."""
    handler = Handler(queue)
    bus = Bus(store)
    bus.attach(handler)
    retry = RetryPolicy(attempts=2, backoff_s=0.0)
    consumer = QueueConsumer(bus, trigger(queue, retry=retry, slots=2, batch=2))
    async with anyio.create_task_group() as tasks:
        await _start(tasks, consumer)
        await _publish(store, queue, "bad")
        await until(lambda: "bad" in handler.tried)
        await _publish(store, queue, "busy", "a")
        await until(lambda: {"a", "busy"} <= handler.done)
        assert await _dead(store, f"{queue}.dead") == {"bad"}, "perhaps twice, but nothing else"
        tasks.cancel_scope.cancel()


async def _start(tasks: TaskGroup, consumer: QueueConsumer) -> None:
    """Who starts a consumer is told of what fails there, and may do so once more."""
    try:
        await tasks.start(consumer.serve)
    except StoreError as error:
        assert "InjectedError" in str(error)  # noqa: PT017
        await tasks.start(consumer.serve)


async def _publish(store: Store, queue: str, *ids: str) -> None:
    """Who publishes is told of what fails there, and may do so once more."""
    messages = to(queue, *(message(id=each) for each in ids))
    try:
        await store.publish(messages)
    except StoreError as error:
        assert "InjectedError" in str(error)  # noqa: PT017
        await store.publish(messages)


async def _dead(store: Store, queue: str) -> set[str | None]:
    async with asyncio.timeout(LIMIT_S):
        while True:
            with contextlib.suppress(StoreError):  # of a broker that is just making the queue
                if found := await store.browse(queue, 9):
                    return {each.message.id for each in found}
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("task", ["TimerRunner._keep_time", "TimerRunner._run"])
async def test_timers_go_on_whatever_their_tasks_meet(
    tmp_path: Path, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    for at in range(MOST_AWAITS):
        caplog.clear()
        with injecting(at, task) as injection:
            await _tick(tmp_path / f"{at}.db")
        if not injection.thrown_in:
            assert at > 0
            return
        assert "InjectedError" in caplog.text, f"await {at}: somebody is told"


async def _tick(path: Path) -> None:
    """Four scheduled times, of which each runs at most once and the last one does for sure."""
    async with ticking(Handler("ticks"), FactsFile(path), every_minute()) as house:
        for _ in range(4):
            await until(house.clock.is_quiet)
            house.clock.pass_(timedelta(minutes=1))
            await until(lambda: house.now().last == house.clock.now() and not house.now().running)
        await until(lambda: house.scheduled()[-1:] == ["2026-11-23T12:04:00+00:00"])
        assert len(set(house.scheduled())) == len(house.scheduled())
