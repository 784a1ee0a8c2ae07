"""When a consumer pauses and when it goes on: never too early, never not at all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from bus.message import Delivery
from tests.kit.support import until
from triggers.queue.pace import Pace


class Tap:
    """A consumer of nothing. While `slow` is set, pausing and resuming do not end."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.slow: asyncio.Event | None = None

    @property
    def is_consuming(self) -> bool:
        return not self.journal or self.journal[-1] == "resume"

    async def next(self) -> Delivery:
        raise NotImplementedError

    def next_nowait(self) -> Delivery | None:
        return None

    def on_message(self, callback: Callable[[], None]) -> None:
        raise NotImplementedError

    async def pause(self) -> None:
        await self._turn("pause")

    async def resume(self) -> None:
        await self._turn("resume")

    async def _turn(self, way: str) -> None:
        if self.slow is not None:
            await self.slow.wait()
        self.journal.append(way)


class Paced:
    def __init__(self) -> None:
        self.tap = Tap()
        self.capacity = 1
        self.pace = Pace(self.tap, lambda: self.capacity)


@contextlib.asynccontextmanager
async def paced(capacity: int) -> AsyncIterator[Paced]:
    async with anyio.create_task_group() as tasks:
        made = Paced()
        made.capacity = capacity
        tasks.start_soon(made.pace.keep)
        yield made
        tasks.cancel_scope.cancel()


async def test_a_hold_has_paused_when_it_returns_and_ends_when_capacity_rises() -> None:
    async with paced(0) as made:
        await made.pace.hold(0.01)
        assert made.tap.journal == ["pause"]
        made.capacity = 1
        made.pace.on_capacity()
        await until(lambda: made.tap.journal == ["pause", "resume"])


async def test_a_rise_that_nobody_tells_of_is_found_all_the_same() -> None:
    async with paced(0) as made:
        await made.pace.hold(0.0)
        made.capacity = 1
        await until(lambda: made.tap.journal == ["pause", "resume"])


async def test_nothing_is_held_for_no_time_where_there_is_capacity() -> None:
    async with paced(1) as made:
        await made.pace.hold(0.0)
        assert made.tap.journal == []


async def test_a_hold_that_comes_while_it_resumes_is_obeyed() -> None:
    async with paced(1) as made:
        await made.pace.hold(0.001)
        made.tap.slow = asyncio.Event()
        await until(made.pace._changing.locked)
        async with anyio.create_task_group() as holding:
            holding.start_soon(made.pace.hold, 0.001)
            made.tap.slow.set()
        assert made.tap.journal == ["pause", "resume", "pause"]
        await until(lambda: made.tap.journal == ["pause", "resume", "pause", "resume"])


@pytest.mark.parametrize("again_s", [0.001, 0.0])
async def test_what_was_stopped_stays_stopped(again_s: float) -> None:
    async with paced(1) as made:
        await made.pace.hold(0.001)
        await made.pace.stop()
        await made.pace.hold(again_s)
        made.pace.on_capacity()
        await anyio.wait_all_tasks_blocked()
        assert not made.tap.is_consuming
