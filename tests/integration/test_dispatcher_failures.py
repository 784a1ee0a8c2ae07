"""Failures below the dispatcher, and their effect on events."""

import asyncio
import os
import select
import signal

import pytest

from bus import Failed, Ok
from sandbox.instance import Instance
from sandbox.spec import Hooks
from tests.kit.serving import Served, closed_gate, serving
from tests.kit.support import Bench, answer, failure, readable_folder, until

pytestmark = pytest.mark.any_user


def kill_unnoticed(instance: Instance) -> None:
    """Kill it and wait for its death without letting the event loop see it."""
    os.kill(instance.pid, signal.SIGKILL)
    poll = select.poll()
    poll.register(instance.pidfd, select.POLLIN)
    assert poll.poll(20_000)


async def occupy(served: Served, path: str, count: int) -> "list[asyncio.Task[Ok | Failed]]":
    """Calls that run at once."""
    calls = [served.begin(path) for _ in range(count)]
    await until(lambda: served.running() == count)
    return calls


async def test_an_event_that_meets_a_dead_instance_is_assigned_again(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work")) as served:
        pid = await served.pid()
        (instance,) = served.instances()
        kill_unnoticed(instance)

        assert await served.pid() != pid
        await until(lambda: len(served.instances()) == 1)


async def test_an_event_that_meets_two_dead_instances_fails(bench: Bench) -> None:
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held")) as served:
            calls = await occupy(served, gate.path, 2)
            gate.release(2)
            await asyncio.wait(calls)
            for instance in served.instances():
                kill_unnoticed(instance)
            failed = await served.failure(gate.path)

            assert (failed.kind, failed.code) == ("crash", "Exit")
            await until(lambda: not served.instances())
            gate.release()
            assert answer(await served.call(gate.path)) in served.pids()


async def test_the_death_of_a_busy_instance_fails_its_event_and_no_other(bench: Bench) -> None:
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held"), max_instances=2) as served:
            calls = await occupy(served, gate.path, 2)
            waiting = served.begin(gate.path)
            os.kill(served.instances()[0].pid, signal.SIGKILL)
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            gate.release(2)
            outcomes = await asyncio.gather(*calls)

            (failed,) = (outcome for outcome in outcomes if isinstance(outcome, Failed))
            assert (failed.kind, failed.code, failed.message) == (
                "crash",
                "Signal",
                "the instance was ended by SIGKILL",
            )
            answer(await waiting)
            assert (served.now().busy, served.now().waiting) == (0, 0)


async def test_an_instance_that_ends_itself_is_replaced_for_the_next_event(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_work", "exits"), max_instances=1) as served:
        outcomes = [await served.failure() for _ in range(3)]

        assert [(failed.kind, failed.code) for failed in outcomes] == [("crash", "Exit")] * 3
        assert len({failed.instance for failed in outcomes}) == 3


async def test_idle_instances_of_a_template_that_died_are_passed_over(bench: Bench) -> None:
    """They leave; an event that arrives before their end does not count them as dead instances that it got."""
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held")) as served:
            calls = await occupy(served, gate.path, 3)
            gate.release(3)
            old = {answer(outcome) for outcome in await asyncio.gather(*calls)}
            (template,) = bench.tree.templates()
            template.kill("for a test")
            gate.release()

            assert await served.pid(gate.path) not in old
            await until(lambda: not old & served.pids())
            assert served.now().busy == 0


async def test_busy_instances_outlive_their_template(bench: Bench) -> None:
    with closed_gate() as gate:
        async with serving(bench.tree, bench.spec("pool_work", "held"), max_instances=2) as served:
            calls = await occupy(served, gate.path, 2)
            waiting = served.begin(gate.path)
            (template,) = bench.tree.templates()
            os.kill(template.pid, signal.SIGKILL)
            await until(lambda: template.is_dead)
            gate.release(3)
            old = {answer(outcome) for outcome in await asyncio.gather(*calls)}

            assert answer(await waiting) not in old
            await until(lambda: not old & served.pids())


async def test_a_function_that_cannot_load_says_why_until_it_is_mended(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("pool_mended")) as served:
        came_back = asyncio.Event()
        served.dispatcher.pool("f").on_capacity(came_back.set)
        waiting = await asyncio.gather(*(served.call() for _ in range(3)))
        at_once = await served.failure()

        for failed in (*map(failure, waiting), at_once):
            assert (failed.kind, failed.code) == ("load", "InitFailed")
            assert "not yet" in failed.message + failed.traceback
        assert at_once.retry_after_s is not None
        assert served.dispatcher.pool("f").capacity() == 0
        await until(lambda: not served.now().starting)
        (bench.code / "pool_mended" / "function.py").write_text("def handler(event):\n    return 'mended'\n")
        await asyncio.wait_for(came_back.wait(), 20)

        assert answer(await served.call()) == "mended"


@pytest.mark.parametrize("reserved", [0, 2])
async def test_a_hook_that_fails_is_a_function_that_cannot_load(bench: Bench, reserved: int) -> None:
    with readable_folder() as folder:
        database = folder / "database"
        hooks = Hooks(after_fork="function:needs_database")
        spec = bench.spec("hooks", hooks=hooks, env={"DATABASE": str(database)})
        async with serving(bench.tree, spec, reserved=reserved) as served:
            came_back = asyncio.Event()
            served.dispatcher.pool("f").on_capacity(came_back.set)
            outcomes = await asyncio.gather(*(served.call() for _ in range(20)))
            await until(lambda: not served.now().starting)

            assert {(failed.kind, failed.code) for failed in map(failure, outcomes)} == {("load", "InitFailed")}
            assert (await served.failure()).retry_after_s is not None
            assert (served.dispatcher.pool("f").capacity(), served.instances()) == (0, [])
            database.touch()
            await asyncio.wait_for(came_back.wait(), 20)

            answer(await served.call())
            await until(lambda: len(served.instances()) == max(1, reserved))


async def test_a_hook_that_fails_later_spoils_no_call_of_those_that_serve(bench: Bench) -> None:
    with readable_folder() as folder:
        database = folder / "database"
        database.touch()
        hooks = Hooks(after_fork="function:needs_database")
        spec = bench.spec("hooks", hooks=hooks, env={"DATABASE": str(database)})
        async with serving(bench.tree, spec, max_instances=4) as served:
            answer(await served.call())
            database.unlink()
            for outcome in await asyncio.gather(*(served.call() for _ in range(12))):
                answer(outcome)


async def test_a_function_that_cannot_load_any_more_is_still_served_by_what_lives(bench: Bench) -> None:
    with closed_gate() as gate:
        code = bench.code / "pool_work" / "function.py"
        async with serving(bench.tree, bench.spec("pool_work", "held"), max_instances=2) as served:
            (running,) = await occupy(served, gate.path, 1)
            code.write_text("broken at last")
            (template,) = bench.tree.templates()
            os.kill(template.pid, signal.SIGKILL)
            await until(lambda: template.is_dead)
            waiting = served.begin(gate.path)
            await until(lambda: served.now().waiting and not served.now().starting)
            gate.release()

            answer(await running)
            assert failure(await waiting).code == "SyntaxError", "the last one that lived has left with its template"
