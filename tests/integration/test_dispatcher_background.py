"""Templates that no event waits for are loaded two at a time."""

import asyncio

import anyio
import pytest

from bus import Ok
from dispatcher.dispatcher import Dispatcher
from dispatcher.settings import Function, PoolSettings
from tests.kit.serving import closed_gate
from tests.kit.support import Bench, event, until

pytestmark = pytest.mark.any_user


async def test_two_templates_are_loaded_at_a_time_and_a_start_waits_for_none_of_them(bench: Bench) -> None:
    with closed_gate() as gate:
        specs = [bench.spec("pool_gated", name=f"f{n}", version=f"v{n}", env={"GATE": gate.path}) for n in range(4)]
        for spec in specs:
            bench.tree.keep(spec)
        await until(lambda: bench.texts().count("loading") == 2)
        assert len(bench.tree.templates()) == 2
        gate.release()
        await until(lambda: bench.texts().count("loading") == 3)
        assert len(bench.tree.templates()) == 3
        instance, _ = await bench.tree.start(bench.spec("pool_work"))
        assert isinstance(await instance.invoke(event()), Ok)
        starting = asyncio.create_task(bench.tree.start(specs[3]))  # whose own load has not had its turn yet
        await until(lambda: bench.texts().count("loading") == 4)
        gate.release(3)
        await starting
        await until(lambda: all(bench.tree.template_of(spec) for spec in specs))


async def test_templates_are_loaded_in_the_order_in_which_they_are_expected_to_be_used(bench: Bench) -> None:
    with closed_gate() as gate:
        specs = {name: bench.spec("pool_gated", name=name, env={"GATE": gate.path}) for name in "abcd"}
        functions = {name: Function(spec=spec, pool=PoolSettings()) for name, spec in specs.items()}
        async with anyio.create_task_group() as tasks:
            dispatcher = Dispatcher(functions, bench.tree, tasks, order=["d", "b"])
            await until(lambda: bench.texts().count("loading") == 2)
            assert [template.spec.name for template in bench.tree.templates()] == ["d", "b"]
            assert [*dispatcher.runners()] == ["a", "b", "c", "d"]
            gate.release(4)
            dispatcher.stop()
            tasks.cancel_scope.cancel()
