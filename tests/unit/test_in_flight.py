"""Waiting until nothing is in flight: at once, for all of several, and again if something begins meanwhile."""

import anyio

from bus.in_flight import InFlight


async def test_waiting_for_nothing_returns_at_once() -> None:
    flight = InFlight()
    await flight.wait_none()
    flight.begin()
    flight.end()
    await flight.wait_none()
    assert flight.count == 0


async def test_everybody_waits_for_the_last_end() -> None:
    flight, returned = InFlight(), []
    flight.begin(2)

    async def wait(name: str) -> None:
        await flight.wait_none()
        returned.append(name)

    async with anyio.create_task_group() as waiting:
        waiting.start_soon(wait, "a")
        waiting.start_soon(wait, "b")
        await anyio.wait_all_tasks_blocked()
        flight.end()
        await anyio.wait_all_tasks_blocked()
        assert returned == []
        flight.end()
    assert sorted(returned) == ["a", "b"]


async def test_what_begins_before_a_waiter_wakes_is_waited_for_too() -> None:
    flight, returned = InFlight(), []
    flight.begin()

    async def wait() -> None:
        await flight.wait_none()
        returned.append(flight.count)

    async with anyio.create_task_group() as waiting:
        waiting.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        flight.end()
        flight.begin()
        await anyio.wait_all_tasks_blocked()
        assert returned == []
        flight.end()
    assert returned == [0]
