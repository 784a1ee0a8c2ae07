"""`init` runs once in the template, `after_fork` in each instance, `stop` at the end of an instance."""

import asyncio
from functools import partial

import pytest

from bus import Failed
from sandbox.errors import LoadFailed, StartFailed
from sandbox.spec import Hooks, Limits
from tests.kit.support import Bench, answer, event, until

pytestmark = pytest.mark.any_user

ALL = Hooks(init="function:init", after_fork="function:after_fork", stop="function:stop")


@pytest.mark.parametrize("handler", ["handler", "asynchronous"])
async def test_each_hook_runs_in_its_place(bench: Bench, handler: str) -> None:
    spec = bench.spec("hooks", handler, hooks=ALL)
    for _ in range(2):
        instance, _ = await bench.tree.start(spec)
        template = bench.tree.templates()[0].pid
        found = answer(await instance.invoke(event()))
        instance.leave()

        assert found == {
            "import": template,
            "init": template,
            "after_fork": instance.pid,
            "handler": instance.pid,
        }
        await until(partial(_says, bench, f"stop in {instance.pid}"))


def _says(bench: Bench, text: str) -> bool:
    return text in bench.texts()


async def test_the_stop_hook_of_an_async_handler_may_be_async(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("hooks", "asynchronous", hooks=Hooks(stop="function:async_stop")))
    answer(await instance.invoke(event()))
    instance.leave()

    await until(lambda: f"async stop in {instance.pid}" in bench.texts())


async def test_an_init_that_fails_fails_the_load(bench: Bench) -> None:
    with pytest.raises(LoadFailed, match="no database today") as failed:
        await bench.tree.start(bench.spec("hooks", hooks=Hooks(init="function:raises")))

    assert failed.value.code == "InitFailed"
    assert "in raises" in failed.value.traceback


async def test_a_hook_that_does_not_exist_fails_the_load(bench: Bench) -> None:
    with pytest.raises(LoadFailed) as failed:
        await bench.tree.start(bench.spec("hooks", hooks=Hooks(stop="function:stopp")))

    assert failed.value.code == "HandlerNotFound"
    assert "did you mean 'stop'?" in failed.value.message


async def test_an_after_fork_that_fails_fails_the_start(bench: Bench) -> None:
    spec = bench.spec("hooks", hooks=Hooks(after_fork="function:raises"))
    found = await asyncio.gather(*(bench.tree.start(spec) for _ in range(4)), return_exceptions=True)

    errors = [error for error in found if isinstance(error, LoadFailed)]
    assert [error.code for error in errors] == ["InitFailed"] * 4
    assert all("no database today" in error.message and "in raises" in error.traceback for error in errors)
    (template,) = bench.tree.templates()
    await until(lambda: not template.instances)
    with pytest.raises(
        LoadFailed, match="no database today"
    ) as again:  # it backs off: four failures at once count as one
        await bench.tree.start(spec)
    assert again.value.retry_at_ns == errors[-1].retry_at_ns
    assert bench.tree.template_of(spec) is not template


@pytest.mark.parametrize(
    ("hook", "code", "why"),
    [
        ("hangs", "InitTimeout", "'after_fork' took longer than init_timeout, 1 s"),
        ("exits", "InitFailed", "'after_fork' did not return: it ended its process with exit code 3"),
        ("grows", "InitFailed", "'after_fork' did not return: the instance used more than its 32 MiB of memory"),
    ],
)
async def test_an_after_fork_that_does_not_return_fails_the_start(bench: Bench, hook: str, code: str, why: str) -> None:
    limits = Limits(memory_bytes=32 * 1024 * 1024)
    hooks = Hooks(after_fork=f"function:{hook}")
    spec = bench.spec("hooks", hooks=hooks, init_timeout_s=1.0, grace_s=0.2, limits=limits)
    with pytest.raises(LoadFailed) as failed:
        await bench.tree.start(spec)

    assert failed.value.code == code
    assert why in failed.value.message
    assert "in hangs" in failed.value.traceback or hook != "hangs"
    (template,) = bench.tree.templates()
    await until(lambda: not template.instances)


async def test_an_instance_told_to_leave_while_its_hook_runs_is_no_failure(bench: Bench) -> None:
    spec = bench.spec("hooks", hooks=Hooks(after_fork="function:hangs"), grace_s=0.05)
    starting = asyncio.create_task(bench.tree.start(spec))
    (template,) = await until(lambda: [one for one in bench.tree.templates() if one.instances])
    bench.tree.drop(spec)

    await until(template.gone.is_set)
    with pytest.raises(StartFailed, match="dropped"):
        await starting


async def test_a_stop_hook_that_hangs_is_ended_after_the_grace(bench: Bench) -> None:
    spec = bench.spec("hooks", hooks=Hooks(stop="function:hangs"), grace_s=0.05)
    instance, _ = await bench.tree.start(spec)
    answer(await instance.invoke(event()))
    dead = asyncio.Event()
    instance.on_dead = lambda _instance: dead.set()
    instance.leave()

    await dead.wait()


async def test_a_stop_hook_that_fails_harms_nobody(bench: Bench) -> None:
    spec = bench.spec("hooks", hooks=Hooks(stop="function:raises"))
    first, second = await bench.call(spec), await bench.call(spec)

    assert not isinstance(first, Failed)
    assert not isinstance(second, Failed)
    await until(lambda: any("no database today" in text for text in bench.texts()))
