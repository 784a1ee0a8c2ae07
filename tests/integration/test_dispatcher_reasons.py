"""The reasons of events that found no idle instance: the state of the pool, and the cause of each start."""

import asyncio
import os
import signal

import pytest

from bus import Outcome
from dispatcher.reasons import Reason
from sandbox.causes import Cause
from tests.kit.serving import Served, closed_gate, serving
from tests.kit.support import Bench, event, until
from tests.kit.targets import outcome_of

pytestmark = pytest.mark.any_user


async def call(served: Served, event_id: str, data: bytes = b"null") -> Outcome:
    return await outcome_of(served.dispatcher, event(data, function="f", id=event_id))


def reason(served: Served, event_id: str) -> Reason:
    found = served.dispatcher.runners()["f"].reasons.of(event_id, 1)
    assert found is not None
    return found


def cause(served: Served, event_id: str, code: str) -> str:
    """Return the detail of the cause, which must have this code."""
    found = reason(served, event_id).cause
    assert found is not None
    assert found.code == code
    return found.detail


async def test_what_was_found_and_what_was_decided(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.runner.WORTH_NOTING_NS", 0)
    with closed_gate() as gate:
        path = f'"{gate.path}"'.encode()
        spec = bench.spec("pool_work", "held")
        async with serving(bench.tree, spec, max_instances=2, max_waiting=1, reserved=1) as served:
            await until(served.ready)
            running = [asyncio.create_task(call(served, "taken", path))]
            await until(lambda: served.running() == 1)
            running.append(asyncio.create_task(call(served, "forked", path)))
            await until(lambda: served.running() == 2)
            running.append(asyncio.create_task(call(served, "waited", path)))
            await until(lambda: served.now().waiting == 1)
            await call(served, "refused", path)
            gate.release(3)
            outcomes = await asyncio.gather(*running)

            assert [outcome.start for outcome in outcomes] == ["warm", "fork", "warm"]
            assert served.dispatcher.runners()["f"].reasons.of("taken", 1) is None
            told = {name: reason(served, name) for name in ("forked", "waited", "refused")}
            assert {name: (one.busy, one.waiting, one.begun, one.cause) for name, one in told.items()} == {
                "forked": (1, 0, 1, None),
                "waited": (2, 0, 0, None),
                "refused": (2, 1, 0, None),
            }


async def test_who_waited_for_next_to_nothing_is_not_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.runner.WORTH_NOTING_NS", 3600 * 10**9)
    async with serving(bench.tree, bench.spec("pool_work"), max_instances=1, reserved=1) as served:
        await until(served.ready)
        outcomes = await asyncio.gather(*(call(served, str(number)) for number in range(3)))
        assert [outcome.start for outcome in outcomes] == ["warm"] * 3
        reasons = served.dispatcher.runners()["f"].reasons
        assert [reasons.of(str(number), 1) for number in range(3)] == [None] * 3


async def test_why_there_was_no_template(bench: Bench) -> None:
    spec = bench.spec("pool_work")
    async with serving(bench.tree, spec, rest="none", keep_alive_s=0, template_keep_alive_s=0) as served:
        assert (await call(served, "first")).start == "boot"
        await until(lambda: not bench.tree.has(spec))
        assert (await call(served, "rested")).start in ("load", "boot")
    assert reason(served, "first").cause == Cause("new")
    assert reason(served, "rested").cause == Cause("rested", "0")


async def test_why_the_template_before_it_ended(bench: Bench) -> None:
    spec = bench.spec("pool_work")
    async with serving(bench.tree, spec, rest="none", keep_alive_s=0) as served:
        await call(served, "first")
        (template,) = bench.tree.templates()
        await until(lambda: not template.instances)
        os.kill(template.pid, signal.SIGKILL)
        await template.gone.wait()
        assert (await call(served, "killed")).start == "load"
        await until(lambda: not served.instances())
        (zygote,) = bench.tree.zygotes()
        os.kill(zygote.pid, signal.SIGKILL)
        await zygote.gone.wait()
        assert (await call(served, "booted")).start == "boot"
    assert cause(served, "killed", "ended").startswith("the process ")
    assert cause(served, "booted", "ended").startswith("the ")


async def test_a_function_with_threads_is_loaded_for_each_instance(bench: Bench) -> None:
    async with serving(bench.tree, bench.spec("threads", "handler"), rest="none", keep_alive_s=0) as served:
        for name in ("first", "second"):
            await call(served, name)
            await until(lambda: not served.instances())
    assert cause(served, "second", "unforkable").startswith("threads of function (")
