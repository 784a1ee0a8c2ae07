"""What an instance does when no call has come for a while."""

import asyncio

import pytest

from sandbox.processes import memory_kb
from sandbox.spec import Hooks
from tests.kit.support import Bench, answer, event, until

pytestmark = pytest.mark.any_user


@pytest.mark.parametrize("handler", ["litter", "litter_later"])
async def test_an_idle_instance_collects_its_garbage_and_gives_memory_back(bench: Bench, handler: str) -> None:
    hooks = Hooks(after_fork="function:after_fork")
    used, unused = [(await bench.tree.start(bench.spec("idle", handler, hooks=hooks)))[0] for _ in range(2)]
    assert answer(await used.invoke(event())) == used.pid
    before_kb = memory_kb(used.pid) or 0

    await until(lambda: bench.texts().count(f"collected in {used.pid}") == 2)
    await until(lambda: (memory_kb(used.pid) or 0) < before_kb - 4096)
    assert f"collected in {unused.pid}" not in bench.texts()  # it has nothing to tidy up after
    assert answer(await used.invoke(event())) == used.pid


async def test_an_instance_with_calls_does_not_tidy_up_between_them(bench: Bench) -> None:
    busy, idle = [(await bench.tree.start(bench.spec("idle", "litter")))[0] for _ in range(2)]
    await idle.invoke(event())
    await busy.invoke(event())

    while f"collected in {idle.pid}" not in bench.texts():
        assert answer(await busy.invoke(event(b'"nothing"'))) == busy.pid
        await asyncio.sleep(0.02)
    assert f"collected in {busy.pid}" not in bench.texts()
