"""Functions are changed, added and removed under load, and no accepted event notices."""

import asyncio
import json
import time
from typing import Any

import pytest
from msgspec.structs import replace

from bus import Outcome
from dispatcher.change import NotLoaded, load_all, open_change
from dispatcher.dispatcher import Dispatcher
from dispatcher.settings import Function, PoolSettings
from sandbox.proving import is_proven
from sandbox.spec import FunctionSpec, Runtime
from tests.kit.serving import Served, closed_gate, serving
from tests.kit.support import Bench, answer, event, until
from tests.kit.targets import outcome_of

pytestmark = pytest.mark.any_user


def only(spec: FunctionSpec, **pool: Any) -> dict[str, Function]:
    """Serve only this function, as "f"."""
    return {"f": Function(spec=spec, pool=PoolSettings(**{"spare": 0, **pool}))}


async def change(served: Served, bench: Bench, functions: dict[str, Function]) -> None:
    """Prepare and carry out the whole change: nothing else depends on the functions here."""
    async with open_change(served.dispatcher, bench.tree, functions) as prepared:
        prepared.add()
        prepared.switch()
        prepared.remove()


def versions(bench: Bench) -> set[str]:
    return {template.spec.version for template in bench.tree.templates()}


async def call(dispatcher: Dispatcher, name: str) -> Outcome:
    return await outcome_of(dispatcher, event(b"null", function=name))


async def test_events_run_on_the_new_version_and_the_old_one_ends_after_its_last_call(bench: Bench) -> None:
    old, new = bench.spec("pool_work", "held"), bench.spec("pool_work")
    with closed_gate() as gate:
        async with serving(bench.tree, old) as served:
            running = served.begin(gate.path)
            await until(lambda: served.running() == 1)
            await change(served, bench, only(replace(new, name=old.name)))

            outcome = await served.call()
            assert outcome.version == new.version
            assert versions(bench) == {old.version, new.version}
            [runner] = served.dispatcher.runners().values()
            counts = "1 idle, 1 busy, 0 starting, 0 leaving, 0 events waiting"
            assert repr(runner) == f"<Runner of {old.name} {new.version}: serving, {counts}>"
            gate.release()
            assert (await running).version == old.version
            await until(lambda: versions(bench) == {new.version})


async def test_an_announced_event_finds_an_instance_of_a_version_that_came_just_before_it(bench: Bench) -> None:
    old, new = bench.spec("pool_work", "held"), bench.spec("pool_work")
    async with serving(bench.tree, old, rest="none", keep_alive_s=0) as served:
        costs = served.dispatcher.pool("f").start_costs
        for kind in ("fork", "load"):
            costs.note(kind, 10_000_000_000)  # so that the event is near for as long as the test takes
        served.dispatcher.pool("f").expect(time.monotonic_ns() + 15_000_000_000)
        await until(served.instances)
        await change(served, bench, only(replace(new, name=old.name), rest="none", keep_alive_s=0))
        outcome = await served.call()

        assert (outcome.start, outcome.version) == ("warm", new.version)


async def test_a_function_at_rest_that_may_wait_is_switched_without_a_process(bench: Bench) -> None:
    old, new = bench.spec("pool_work", "held"), bench.spec("pool_work")
    async with serving(bench.tree, old, rest="none") as served:
        functions = only(replace(new, name=old.name), rest="none")
        async with open_change(served.dispatcher, bench.tree, functions, may_wait={"f"}) as prepared:
            prepared.add()
            prepared.switch()
            prepared.remove()
        assert bench.tree.templates() == []
        assert (await served.call()).version == new.version


async def test_waiting_events_are_run_by_the_new_version(bench: Bench) -> None:
    old, new = bench.spec("pool_work", "held"), bench.spec("pool_work")
    with closed_gate() as gate:
        async with serving(bench.tree, old, max_instances=1) as served:
            running = served.begin(gate.path)
            await until(lambda: served.running() == 1)
            waiting = served.begin(gate.path)
            await until(lambda: served.now().waiting == 1)
            await change(served, bench, only(replace(new, name=old.name), max_instances=2))

            assert (await waiting).version == new.version
            assert not running.done()
            gate.release()
            await running


async def test_a_version_that_cannot_load_changes_nothing(bench: Bench) -> None:
    old = bench.spec("pool_work")
    broken = replace(bench.spec("broken", "raises:handler"), name=old.name)
    async with serving(bench.tree, old) as served:
        pid = await served.pid()
        added = {"g": Function(spec=bench.spec("hello", "hello:handler"), pool=PoolSettings())}
        with pytest.raises(NotLoaded) as caught:
            await change(served, bench, only(broken) | added)

        assert "raises.py" in caught.value.errors["f"].traceback  # type: ignore[union-attr]
        assert await served.pid() == pid
        assert set(served.dispatcher.runners()) == {"f"}
        await until(lambda: versions(bench) == {old.version})


async def test_reserved_instances_are_there_before_the_old_ones_go(bench: Bench) -> None:
    old, new = bench.spec("pool_work"), bench.spec("pool_work", "held")
    async with serving(bench.tree, old, reserved=2) as served:
        await until(lambda: served.ready() == 2)
        before = served.pids()
        async with open_change(served.dispatcher, bench.tree, only(replace(new, name=old.name), reserved=2)) as made:
            assert served.pids() == before, "nothing is switched yet"
            made.switch()
            assert served.ready() == 2
        await until(lambda: len(served.instances()) == 2)
        assert not before & served.pids()


async def test_a_switch_and_one_back_before_the_old_has_ended_keep_the_template_that_serves(bench: Bench) -> None:
    old, new = bench.spec("pool_work"), bench.spec("pool_work", "held")
    functions = [only(replace(spec, name=old.name), spare=1)["f"] for spec in (new, old)]
    async with serving(bench.tree, old, spare=1) as served:
        await served.pid()
        [template] = bench.tree.templates()
        await bench.tree.load(functions[0].spec)
        for function in functions:
            served.dispatcher.renew("f", function, [])

        assert (await served.call()).version == old.version
        await until(lambda: bench.tree.templates() == [template])
        await until(lambda: served.ready() == len(served.instances()) == 2)


async def test_an_event_right_after_a_switch_waits_for_no_start_that_was_put_off(bench: Bench) -> None:
    """What follows the switch has not begun when the event comes: it starts an instance itself."""
    old, new = bench.spec("pool_work", "held"), bench.spec("pool_work")
    async with serving(bench.tree, old, spare=1) as served:
        await served.call()
        await until(lambda: served.ready() == 2)
        function = only(replace(new, name=old.name), spare=1)["f"]
        await bench.tree.load(function.spec)
        served.dispatcher.renew("f", function, [])
        assert served.now().starting == 0
        running = served.begin()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert served.now().starting == 1
        assert (await running).version == new.version
        await until(lambda: served.ready() == 2)


async def test_what_has_shown_that_it_loads_is_not_started_again_to_prove_it(bench: Bench) -> None:
    """A program's template loads nothing: an instance of it has to have been ready."""
    python = bench.spec("pool_work")
    runtime = Runtime(
        name="c", kind="command", python=python.runtime.python, command=("./bootstrap",), events="forklight"
    )
    program = replace(bench.spec("conformance", "measure", runtime=runtime), handler="measure")
    specs = {"f": python, "g": program}
    await bench.tree.load(program)
    assert [is_proven(bench.tree, spec) for spec in specs.values()] == [False, False]
    assert await load_all(bench.tree, specs) == {}
    assert [is_proven(bench.tree, spec) for spec in specs.values()] == [True, True]

    told: list[tuple[str, int]] = []
    templates = bench.tree.templates()
    await until(lambda: not any(template.instances for template in templates))
    assert await load_all(bench.tree, specs, lambda name, of: told.append((name, of))) == {}
    assert told == [("f", 2), ("g", 2)]
    assert bench.tree.templates() == templates
    assert not any(template.instances for template in templates)
    bench.tree.drop(python)
    assert not is_proven(bench.tree, python)


async def test_a_function_that_is_removed_twice_in_between_ends_once(bench: Bench) -> None:
    spec = bench.spec("pool_work")
    async with serving(bench.tree, spec) as served:
        pid = await served.pid()
        served.dispatcher.remove("f")
        served.dispatcher.add("f", only(spec)["f"])
        assert await served.pid() != pid
        served.dispatcher.remove("f")
        assert (await served.failure()).kind == "unknown_function"
        await until(lambda: not bench.tree.templates() and not bench.tree.zygotes())


async def everything_has_followed(served: Served, bench: Bench) -> None:
    """What follows the changes so far comes before what follows the removal of one more function."""
    last = replace(bench.spec("hello", "hello:handler"), name="last")
    served.dispatcher.add("last", Function(spec=last, pool=PoolSettings(rest="none")))
    await bench.tree.load(last)
    served.dispatcher.remove("last")
    await until(lambda: not bench.tree.has(last))


async def test_a_function_that_is_removed_twice_before_anything_has_followed_leaves_nothing(bench: Bench) -> None:
    spec = bench.spec("pool_work")
    async with serving(bench.tree, spec) as served:
        await bench.tree.load(spec)
        served.dispatcher.remove("f")
        served.dispatcher.add("f", only(spec)["f"])
        served.dispatcher.remove("f")
        await everything_has_followed(served, bench)

        assert not bench.tree.has(spec)
        await until(lambda: not bench.tree.templates() and not bench.tree.zygotes())


async def test_what_a_change_loads_does_not_end_with_what_the_change_before_has_replaced(bench: Bench) -> None:
    old, new = bench.spec("pool_work"), bench.spec("pool_work", "held")
    async with serving(bench.tree, old) as served:
        await served.pid()
        [template] = bench.tree.templates()
        served.dispatcher.renew("f", only(replace(new, name=old.name))["f"], [])
        async with open_change(served.dispatcher, bench.tree, only(old)) as prepared:
            await everything_has_followed(served, bench)
            assert template in bench.tree.templates()
            prepared.undo()
            await until(lambda: template not in bench.tree.templates())


async def test_a_start_of_a_version_that_is_replaced_in_the_same_turn_is_void(bench: Bench) -> None:
    old, new = bench.spec("pool_work"), bench.spec("pool_work", "held")
    with closed_gate() as gate:
        async with serving(bench.tree, old) as served:
            await bench.tree.load(old)
            outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            served.dispatcher.begin(event(json.dumps(gate.path).encode(), function="f"), outcome.set_result)
            assert served.now().starting == 1
            served.dispatcher.renew("f", only(replace(new, name=old.name))["f"], [])
            await until(lambda: served.running() == 1)
            gate.release()
            assert (await outcome).version == new.version

            await everything_has_followed(served, bench)
            assert (served.now().starting, len(served.instances())) == (0, 1)


async def test_other_settings_of_the_pool_renew_the_instances_but_not_the_template(bench: Bench) -> None:
    spec = bench.spec("pool_work")
    async with serving(bench.tree, spec, max_instances=1) as served:
        pid = await served.pid()
        [template] = bench.tree.templates()
        await change(served, bench, only(spec, max_instances=2))

        pids = await asyncio.gather(served.pid(), served.pid())
        assert pid not in pids
        assert bench.tree.templates() == [template]


async def test_other_limits_are_another_template_of_the_same_version(bench: Bench) -> None:
    spec = bench.spec("pool_work")
    async with serving(bench.tree, spec) as served:
        await served.pid()
        [template] = bench.tree.templates()
        await change(served, bench, only(replace(spec, timeout_s=7.0)))
        await served.pid()

        await until(lambda: template not in bench.tree.templates())
        assert [one.spec.timeout_s for one in bench.tree.templates()] == [7.0]


async def test_a_function_that_is_removed_finishes_and_leaves_nothing(bench: Bench) -> None:
    spec = bench.spec("pool_work", "held")
    with closed_gate() as gate:
        async with serving(bench.tree, spec, max_instances=1, reserved=1) as served:
            calls = [served.begin(gate.path) for _ in range(2)]
            await until(lambda: served.now().waiting == 1)
            await change(served, bench, {})

            assert (await served.failure()).kind == "unknown_function"
            gate.release(2)
            assert len({answer(outcome) for outcome in await asyncio.gather(*calls)}) == 1
            await until(lambda: not bench.tree.templates() and not bench.tree.zygotes())


async def test_a_function_comes_and_goes_and_comes_back_while_it_runs(bench: Bench) -> None:
    spec = bench.spec("pool_work", "held")
    with closed_gate() as gate:
        async with serving(bench.tree, spec) as served:
            running = served.begin(gate.path)
            await until(lambda: served.running() == 1)
            await change(served, bench, {})
            await change(served, bench, only(spec))
            again = served.begin(gate.path)
            await until(lambda: served.running() == 2)
            gate.release(2)
            assert answer(await running) != answer(await again)
            assert len(bench.tree.templates()) == 1


async def test_what_is_not_switched_is_undone(bench: Bench) -> None:
    old, new = bench.spec("pool_work"), bench.spec("pool_work", "held")
    other = bench.spec("hello", "hello:handler")
    async with serving(bench.tree, old) as served:
        await served.pid()
        functions = only(replace(new, name=old.name), reserved=1)
        added = {"g": Function(spec=other, pool=PoolSettings(reserved=1))}
        async with open_change(served.dispatcher, bench.tree, functions | added) as prepared:
            prepared.add()
            assert (await call(served.dispatcher, "g")).version == other.version

        assert (await served.call()).version == old.version
        assert (await call(served.dispatcher, "g")).kind == "unknown_function"  # type: ignore[union-attr]
        await until(lambda: versions(bench) == {old.version})
