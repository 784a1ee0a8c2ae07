"""A process that dies is replaced: at once if it was healthy, with back-off if it keeps failing."""

import asyncio
import os
import signal

import pytest

from bus.outcome import StartKind
from sandbox.errors import LoadFailed
from sandbox.instance import Instance
from sandbox.spec import FunctionSpec
from tests.kit.support import Bench, answer, event, failure, is_gone, until

pytestmark = pytest.mark.ordinary_user


async def started(bench: Bench, spec: FunctionSpec) -> tuple[Instance, StartKind]:
    """Start an instance, waiting out the back-off of a second death in a row."""
    while True:
        try:
            return await bench.tree.start(spec)
        except LoadFailed:
            await asyncio.sleep(0.05)


async def test_a_template_that_was_killed_is_made_again(bench: Bench) -> None:
    spec = bench.spec("plain")
    await bench.tree.start(spec)
    (template,) = bench.tree.templates()
    os.kill(template.pid, signal.SIGKILL)
    instance, kind = await bench.tree.start(spec)

    assert kind in ("fork", "load")  # if the tree has not seen the death yet, it tries again by itself
    assert answer(await instance.invoke(event()))["calls"] == 1
    assert bench.tree.templates()[-1].pid != template.pid


async def test_a_zygote_that_was_killed_is_made_again(bench: Bench) -> None:
    spec = bench.spec("plain")
    await bench.tree.start(spec)
    (zygote,) = bench.tree.zygotes()
    os.kill(zygote.pid, signal.SIGKILL)
    await zygote.gone.wait()
    instance, kind = await bench.tree.start(spec)

    assert kind == "boot"
    assert answer(await instance.invoke(event()))["calls"] == 1
    assert [one.pid for one in bench.tree.zygotes()] != [zygote.pid]


async def test_a_start_under_way_survives_the_death_of_its_zygote(bench: Bench) -> None:
    await bench.tree.start(bench.spec("plain"))
    (zygote,) = bench.tree.zygotes()
    starting = [asyncio.create_task(bench.tree.start(bench.spec("plain", name))) for name in ("parent", "chance")]
    await until(lambda: len(bench.tree.templates()) == 3)
    os.kill(zygote.pid, signal.SIGKILL)

    for instance, kind in await asyncio.gather(*starting):
        assert kind in ("boot", "load")
        answer(await instance.invoke(event()))


async def test_instances_outlive_their_template(bench: Bench) -> None:
    spec = bench.spec("slow", "sometimes")
    busy, _ = await bench.tree.start(spec)
    idle, _ = await bench.tree.start(spec)
    call = busy.invoke(event(b'"quick"'))
    (template,) = bench.tree.templates()
    os.kill(template.pid, signal.SIGKILL)

    assert answer(await call) == "quick"
    await until(lambda: template.is_dead)
    assert (busy.free_slots, idle.free_slots) == (0, 0)
    await until(lambda: busy.state == idle.state == "dead")
    await until(lambda: is_gone(busy.pid) and is_gone(idle.pid))


async def test_an_instance_orphaned_while_the_zygote_sweeps_after_another_template_lives(bench: Bench) -> None:
    others, spec = bench.spec("plain"), bench.spec("slow", "awaits", timeout_s=1.0)
    for one in (others, spec):
        await bench.call(one)
    (zygote,), (first, second) = bench.tree.zygotes(), bench.tree.templates()
    await until(lambda: not first.instances and not second.instances)
    os.kill(zygote.pid, signal.SIGSTOP)
    os.kill(first.pid, signal.SIGKILL)
    await until(lambda: first.is_dead)
    instance, _ = await bench.tree.start(spec)  # the zygote has been asked to sweep before this one is known
    call = instance.invoke(event())
    os.kill(second.pid, signal.SIGKILL)
    await until(lambda: second.is_dead)
    os.kill(zygote.pid, signal.SIGCONT)

    assert failure(await call).kind == "timeout"


async def test_the_end_of_an_orphaned_instance_is_told_by_the_zygote(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("slow", "sleeps"))
    call = instance.invoke(event())
    (template,) = bench.tree.templates()
    os.kill(template.pid, signal.SIGKILL)
    await until(lambda: template.is_dead)
    os.kill(instance.pid, signal.SIGUSR1)
    failed = failure(await call)

    assert (failed.kind, failed.code) == ("crash", "Signal")
    assert "SIGUSR1" in failed.message


async def test_an_instance_that_lost_all_above_it_still_finishes(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("slow", "awaits", timeout_s=1.0))
    call = instance.invoke(event())
    (zygote,), (template,) = bench.tree.zygotes(), bench.tree.templates()
    for pid in (zygote.pid, template.pid):
        os.kill(pid, signal.SIGKILL)
    failed = failure(await call)

    assert failed.kind == "timeout"
    assert "in deeper" in failed.traceback


async def test_a_handler_that_kills_its_template_gets_its_answer(bench: Bench) -> None:
    spec = bench.spec("crashing", "kills_parent")

    assert await bench.answer(spec) == "done"
    instance, _ = await started(bench, spec)
    assert answer(await instance.invoke(event())) == "done"


async def test_templates_that_keep_dying_are_backed_off(bench: Bench) -> None:
    spec = bench.spec("plain")
    for _ in range(2):  # once is an accident
        await bench.tree.start(spec)
        template = bench.tree.templates()[-1]
        os.kill(template.pid, signal.SIGKILL)
        await template.gone.wait()

    with pytest.raises(LoadFailed) as failed:
        await bench.tree.start(spec)
    assert failed.value.code == "CrashLoop"
    assert failed.value.retry_at_ns is not None


async def test_a_zygotes_death_is_not_held_against_its_functions(bench: Bench) -> None:
    spec = bench.spec("plain")
    for _ in range(2):
        await bench.tree.start(spec)
        template = bench.tree.templates()[-1]
        await started(bench, spec)
        os.kill(bench.tree.zygotes()[0].pid, signal.SIGKILL)
        await template.gone.wait()
        assert bench.tree.template_of(spec) is None


async def test_what_is_kept_is_loaded_again_as_soon_as_it_dies(bench: Bench) -> None:
    spec = bench.spec("plain")
    bench.tree.keep(spec)
    (first,) = await until(lambda: [one for one in bench.tree.templates() if one.rss_kb])
    os.kill(first.pid, signal.SIGKILL)
    (second,) = await until(lambda: [one for one in bench.tree.templates() if one.rss_kb and one is not first])
    _, kind = await bench.tree.start(spec)

    assert kind == "fork"
    assert second.pid != first.pid


async def test_what_is_kept_and_cannot_load_is_tried_again(bench: Bench) -> None:
    spec = bench.spec("broken", "raises:handler")
    bench.tree.keep(spec)
    await until(lambda: isinstance(bench.tree.template_of(spec), LoadFailed))
    first = bench.tree.template_of(spec)

    assert isinstance(first, LoadFailed)
    await until(lambda: _retried(bench, spec, first))


def _retried(bench: Bench, spec: FunctionSpec, first: LoadFailed) -> bool:
    now = bench.tree.template_of(spec)
    return isinstance(now, LoadFailed) and now is not first


async def test_a_stopped_template_is_replaced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that does not answer in time is killed, and the start uses another one."""
    monkeypatch.setattr("sandbox.template.REQUEST_LIMIT_S", 0.2)
    spec = bench.spec("plain")
    await bench.tree.start(spec)
    (template,) = bench.tree.templates()
    os.kill(template.pid, signal.SIGSTOP)
    instance, kind = await bench.tree.start(spec)

    assert kind == "load"
    assert answer(await instance.invoke(event()))["calls"] == 1
    await until(lambda: is_gone(template.pid))


async def test_a_stopped_zygote_is_replaced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.zygote.REQUEST_LIMIT_S", 0.2)
    await bench.tree.start(bench.spec("plain"))
    (zygote,) = bench.tree.zygotes()
    os.kill(zygote.pid, signal.SIGSTOP)
    instance, kind = await bench.tree.start(bench.spec("plain", "parent"))

    assert kind == "boot"
    answer(await instance.invoke(event()))
    await until(lambda: is_gone(zygote.pid))


async def test_a_stopped_template_that_must_not_fork_is_replaced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.template.REQUEST_LIMIT_S", 0.5)
    spec = bench.spec("leftovers", env={"LEAVE": "eventfd", "SHARED": "/nowhere"})
    template = await bench.tree.load(spec)
    os.kill(template.pid, signal.SIGSTOP)
    _, kind = await bench.tree.start(spec)

    assert kind == "load"
    await until(lambda: is_gone(template.pid))
