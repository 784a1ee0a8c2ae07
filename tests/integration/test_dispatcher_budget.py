"""The budget of the machine over a real tree: functions that share room, and what makes it."""

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from bus import Ok, Outcome
from bus.outcome import phases_ns
from dispatcher.budget import Limits
from dispatcher.dispatcher import Dispatcher
from dispatcher.machine import LOOK_NS
from dispatcher.settings import Function, PoolSettings
from forklight.observe.function_status import function_statuses
from sandbox.causes import Cause
from tests.kit.serving import closed_gate
from tests.kit.support import Bench, answer, event, failure, until
from tests.kit.targets import outcome_of

pytestmark = [pytest.mark.any_user, pytest.mark.invariant("I43"), pytest.mark.invariant("I44")]


@contextlib.asynccontextmanager
async def sharing(bench: Bench, limits: Limits, handlers: dict[str, str], **pool: Any) -> AsyncIterator[Dispatcher]:
    """Functions of `pool_work`, by name, that share these limits."""
    async with anyio.create_task_group() as tasks:
        specs = {name: bench.spec("pool_work", handler, name=name) for name, handler in handlers.items()}
        settings = PoolSettings(**{"spare": 0, **pool})
        functions = {name: Function(spec=spec, pool=settings) for name, spec in specs.items()}
        dispatcher = Dispatcher(functions, bench.tree, tasks, limits)
        yield dispatcher
        dispatcher.stop()
        tasks.cancel_scope.cancel()


async def call(dispatcher: Dispatcher, name: str, data: Any = None, event_id: str = "") -> Outcome:
    named = {"id": event_id} if event_id else {}
    return await outcome_of(dispatcher, event(json.dumps(data).encode(), function=name, **named))


def count(dispatcher: Dispatcher) -> int:
    return sum(len(runner.instances()) for runner in dispatcher.runners().values())


async def test_functions_that_burst_together_share_the_room(bench: Bench) -> None:
    """More functions than there may be instances, all with clients that never pause: each gets its turns."""
    names = {f"f{number}": "handler" for number in range(12)}
    done: Counter[str] = Counter()
    async with sharing(bench, Limits(max_instances=4), names) as dispatcher:
        most = 0

        async def client(name: str) -> None:
            nonlocal most
            while min(done[name] for name in names) < 3:
                assert isinstance(await call(dispatcher, name), Ok)
                done[name] += 1
                most = max(most, count(dispatcher))

        async with anyio.create_task_group() as clients:
            for name in names:
                for _ in range(2):
                    clients.start_soon(client, name)
        await until(lambda: dispatcher.machine.status().waiting == ())
        status = dispatcher.machine.status()

    assert most <= 4
    assert sum(status.evictions.values()) >= 8


async def test_a_burst_makes_no_more_instances_than_the_machine_may_have(bench: Bench) -> None:
    async with sharing(
        bench, Limits(max_instances=8), {"f": "handler", "g": "handler"}, max_instances=16
    ) as dispatcher:
        outcomes = await asyncio.gather(*(call(dispatcher, "fg"[n % 2], n) for n in range(500)))
        assert all(isinstance(outcome, Ok) for outcome in outcomes)
        assert count(dispatcher) <= 8


async def test_an_idle_instance_makes_room_at_once(bench: Bench) -> None:
    async with sharing(bench, Limits(max_instances=1), {"f": "handler", "g": "handler"}) as dispatcher:
        pids = [answer(await call(dispatcher, name, event_id=f"{n}")) for n, name in enumerate("gfg")]
        assert len(set(pids)) == 3
        assert dispatcher.statistics()["f"].idle == 0
        assert dispatcher.machine.status().evictions == {"idle": 2, "busy": 0}
        found = dispatcher.runners()["g"].reasons.of("2", 1)
        assert found is not None
        assert found.cause == Cause("no_room", "[machine] max_instances allows 1, which are taken")


async def test_what_nothing_served_needs_makes_room_before_an_idle_instance(bench: Bench) -> None:
    """As long as `give_up` says that processes end, their room is waited for."""
    async with sharing(bench, Limits(), {"f": "handler", "g": "handler"}) as dispatcher:
        machine = dispatcher.machine
        await call(dispatcher, "f")
        left = [Limits(memory_bytes=1 << 40)]

        def give_up() -> bool:
            if left:
                machine.resize(left.pop())
                return True
            return False

        machine.give_up = give_up
        machine.resize(Limits(memory_bytes=1))
        assert isinstance(await call(dispatcher, "g"), Ok)
        assert left == []
        assert dispatcher.statistics()["f"].idle == 1
        machine.resize(Limits(memory_bytes=1))
        await until(lambda: machine.status().evictions["idle"] == 2)


async def test_a_busy_function_gives_up_an_instance_after_its_call(bench: Bench) -> None:
    with closed_gate() as gate:
        async with sharing(bench, Limits(max_instances=2), {"f": "held", "g": "held"}) as dispatcher:
            held = [asyncio.create_task(call(dispatcher, "f", gate.path)) for _ in range(4)]
            await until(lambda: dispatcher.statistics()["f"].busy == 2)
            other = asyncio.create_task(call(dispatcher, "g", gate.path))
            # the call of the first may take long, so the other is to go, too; whichever ends first makes room
            await until(lambda: dispatcher.machine.status().evictions["busy"] == 2)
            gate.release()
            await until(lambda: dispatcher.statistics()["g"].busy == 1)
            gate.release(4)
            assert all(isinstance(outcome, Ok) for outcome in await asyncio.gather(*held, other))


async def test_a_reserved_instance_is_never_taken(bench: Bench) -> None:
    """Room is short for good, so the event is refused in the end, and the refusal names the limit."""
    async with sharing(bench, Limits(max_instances=1), {"f": "handler"}, reserved=1) as dispatcher:
        await until(lambda: dispatcher.statistics()["f"].spare == 1)
        pool = PoolSettings(max_wait_s=0.2)
        dispatcher.add("g", Function(spec=bench.spec("pool_work", name="g"), pool=pool))
        refused = failure(await call(dispatcher, "g"))
        assert (refused.kind, refused.code) == ("throttled", "WaitExpired")
        assert "[machine] max_instances" in refused.message
        assert phases_ns(refused)[0] >= 200_000_000, "it waited in line"
        assert dispatcher.statistics()["f"].spare == 1
        assert dispatcher.machine.status().evictions == {"idle": 0, "busy": 0}


async def test_a_spare_goes_first_and_none_is_started_without_room(bench: Bench) -> None:
    async with sharing(bench, Limits(max_instances=2), {"f": "handler", "g": "handler"}, spare=1) as dispatcher:
        used = answer(await call(dispatcher, "f"))
        await until(lambda: dispatcher.statistics()["f"].spare == 1)
        answer(await call(dispatcher, "g"))
        found = dispatcher.statistics()
        assert [(found[name].idle, found[name].spare, found[name].starting) for name in "fg"] == [(1, 0, 0)] * 2
        assert answer(await call(dispatcher, "f")) == used
        dispatcher.machine.resize(Limits(max_instances=4))
        await until(lambda: all(dispatcher.statistics()[name].spare == 1 for name in "fg"))
        assert dispatcher.machine.status().evictions == {"idle": 1, "busy": 0}


async def test_spares_for_which_there_is_no_room_wait_for_none(bench: Bench) -> None:
    """However many a function wants: else two functions at rest would end each other's spares for ever."""
    async with sharing(bench, Limits(max_instances=3), {"f": "handler", "g": "handler"}, spare=3) as dispatcher:
        for name in "fg":
            answer(await call(dispatcher, name))
            await until(lambda: dispatcher.machine.status().instances == 3)
            await until(lambda: not any(one.starting for one in dispatcher.statistics().values()))
            assert dispatcher.machine.status().waiting == ()
        assert dispatcher.statistics()["g"].idle == 1


async def test_an_instance_that_has_loaded_the_code_itself_is_charged_for_it_once(bench: Bench) -> None:
    """In the budget as the template that it was, and in `ps` as an instance."""
    async with sharing(bench, Limits(), {}) as dispatcher:
        dispatcher.add("f", Function(spec=bench.spec("threads", name="f"), pool=PoolSettings(spare=0)))
        assert isinstance(await call(dispatcher, "f"), Ok)
        dispatcher.machine.tick(time.monotonic_ns() + LOOK_NS)
        (zygote,) = bench.tree.zygotes()
        charged_kb = dispatcher.machine.status().memory_bytes // 1024 - zygote.rss_kb
        (status,) = function_statuses(dispatcher, bench.tree, {})
        for found_kb in (charged_kb, status.memory_kb):
            assert 12 * 1024 < found_kb < 28 * 1024, "16 MiB, less what the fork shares of the runtime"


async def test_memory_pressure_ends_spares_first_and_then_background_loads(bench: Bench, tmp_path: Path) -> None:
    """Each begins at one level and is resumed below a lower one (`SPARES_PRESSURE`, `LOADS_PRESSURE`)."""
    file, looks = tmp_path / "memory", itertools.count(1)

    def press(avg10: float) -> None:
        file.write_text(f"some avg10={avg10} avg60=0.00 avg300=0.00 total=0\n")
        machine.tick(time.monotonic_ns() + next(looks) * 2 * LOOK_NS)  # a time at which it reads again

    def held() -> tuple[bool, bool]:
        status = machine.status()
        return status.spares_held, status.loads_held

    async with sharing(bench, Limits(), {"f": "handler"}, spare=2) as dispatcher:
        machine = dispatcher.machine
        machine.pressure_file = file
        answer(await call(dispatcher, "f"))
        await until(lambda: dispatcher.statistics()["f"].spare == 2)
        press(9.9)
        assert held() == (False, False)
        press(10.0)
        assert held() == (True, False)
        await until(lambda: (dispatcher.statistics()["f"].spare, dispatcher.statistics()["f"].leaving) == (0, 0))
        assert dispatcher.statistics()["f"].idle == 1
        press(20.0)
        assert held() == (True, True)
        dispatcher.add("h", Function(spec=bench.spec("pool_work", name="h"), pool=PoolSettings()))
        dispatcher.add("g", Function(spec=bench.spec("pool_work", name="g"), pool=PoolSettings(spare=2)))
        assert isinstance(await call(dispatcher, "g"), Ok), "what an event waits for is loaded all the same"
        assert dispatcher.statistics()["g"].spare == dispatcher.statistics()["g"].starting == 0
        assert bench.tree.template_of(dispatcher.runners()["h"].function.spec) is None
        press(10.0)
        assert held() == (True, True)
        press(9.9)
        assert held() == (True, False)
        await until(lambda: bench.tree.template_of(dispatcher.runners()["h"].function.spec) is not None)
        assert dispatcher.statistics()["f"].spare == 0
        press(4.9)
        assert held() == (False, False)
        await until(lambda: all(dispatcher.statistics()[name].spare == 2 for name in "fg"))
        assert machine.status().pressure == 4.9


async def test_memory_is_charged_and_bounds_the_instances(bench: Bench) -> None:
    """Each instance is charged 1 MiB at least; beyond the limit one more of them waits for another to go."""
    with closed_gate() as gate:
        async with sharing(bench, Limits(), {"f": "held"}) as dispatcher:
            running = [asyncio.create_task(call(dispatcher, "f", gate.path))]
            await until(lambda: dispatcher.statistics()["f"].busy == 1)
            status = dispatcher.machine.status()
            assert status.instances == 1
            assert status.memory_bytes > 4 * 1024 * 1024, "a zygote, a template and an instance"
            dispatcher.machine.resize(Limits(memory_bytes=status.memory_bytes + 1024 * 1024 - 1))
            running.append(asyncio.create_task(call(dispatcher, "f", gate.path)))
            await until(lambda: dispatcher.machine.status().lack == "memory")
            assert dispatcher.machine.status().waiting == ("f",)
            dispatcher.machine.resize(Limits())
            await until(lambda: dispatcher.statistics()["f"].busy == 2)
            gate.release(2)
            assert all(isinstance(outcome, Ok) for outcome in await asyncio.gather(*running))


async def test_events_that_leave_the_line_leave_the_queue_for_room(bench: Bench) -> None:
    with closed_gate() as gate:
        async with sharing(bench, Limits(max_instances=1), {"f": "held", "g": "held"}) as dispatcher:
            running = asyncio.create_task(call(dispatcher, "f", gate.path))
            await until(lambda: dispatcher.statistics()["f"].busy == 1)
            waiting = asyncio.create_task(call(dispatcher, "g", gate.path))
            await until(lambda: dispatcher.machine.status().waiting == ("g",))
            waiting.cancel()
            await until(lambda: dispatcher.machine.status().waiting == ())
            gate.release(2)
            assert isinstance(await running, Ok)
            assert isinstance(await call(dispatcher, "g", gate.path), Ok)
