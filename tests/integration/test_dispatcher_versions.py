"""Versions of one function side by side: who gets an event, what they share, and what ends with one of them."""

import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from bus import Outcome
from dispatcher.dispatcher import Dispatcher
from dispatcher.keys import Reuse
from dispatcher.settings import Function, PoolSettings
from dispatcher.split import Split
from forklight.commands.rows import version
from forklight.observe import metrics
from forklight.observe.function_status import function_statuses
from forklight.observe.tally import Tally
from sandbox.causes import Cause
from tests.kit.serving import Gate, closed_gate
from tests.kit.support import Bench, event, failure, until
from tests.kit.targets import outcome_of

pytestmark = pytest.mark.any_user

HALF = Split("f@2", 0.5)
TO_BASE = next(f"id-{n}" for n in range(99) if not HALF.takes(f"id-{n}"))
TO_VARIANT = next(f"id-{n}" for n in range(99) if HALF.takes(f"id-{n}"))


def pair(bench: Bench, handler: str = "handler", **pool: Any) -> dict[str, Function]:
    """A function as "f", and a variant of it that differs in its version alone."""
    spec = bench.spec("pool_work", handler)
    settings = PoolSettings(**{"spare": 0, **pool})
    return {
        "f": Function(spec=spec, pool=settings),
        "f@2": Function(spec=replace(spec, version="the second"), pool=settings),
    }


@contextlib.asynccontextmanager
async def dispatching(bench: Bench, functions: dict[str, Function]) -> AsyncIterator[Dispatcher]:
    async with anyio.create_task_group() as tasks:
        dispatcher = Dispatcher(functions, bench.tree, tasks)
        dispatcher.label("f", 1)
        yield dispatcher
        dispatcher.stop()
        tasks.cancel_scope.cancel()


async def run(dispatcher: Dispatcher, name: str = "f", data: Any = None, **fields: Any) -> Outcome:
    return await outcome_of(dispatcher, event(json.dumps(data).encode(), function=name, **fields))


def templates(bench: Bench) -> dict[int, str]:
    return {template.n: template.spec.version for template in bench.tree.templates()}


@pytest.mark.invariant("I52")
async def test_a_split_sends_an_event_and_its_retries_to_one_version(bench: Bench) -> None:
    functions = pair(bench)
    async with dispatching(bench, functions) as dispatcher:
        assert (await run(dispatcher, id=TO_VARIANT)).release == 1, "a variant without a share gets nothing"
        dispatcher.split("f", "f@2", 0.5)
        for attempt in (1, 2, 3):
            new = await run(dispatcher, id=TO_VARIANT, attempt=attempt)
            assert (new.release, new.version, new.attempt) == (2, "the second", attempt)
            assert (await run(dispatcher, id=TO_BASE, attempt=attempt)).release == 1
        for name, release in (("f@2", 2), ("f@1", 1)):
            pinned = {(await run(dispatcher, name, id=one)).release for one in (TO_BASE, TO_VARIANT)}
            assert pinned == {release}
        for name in ("f@3", "f@stable", "g@1", "f@"):
            assert failure(await run(dispatcher, name)).code == "UnknownFunction"
        by_name = {status.name: status for status in function_statuses(dispatcher, bench.tree, {})}
        assert [(one.release, one.share, one.outcomes) for one in by_name.values()] == [
            (1, 0.5, {"ok": 6}),
            (2, 0.5, {"ok": 5}),
        ]
        scraped = metrics.text(metrics.gather(dispatcher.records, [*by_name.values()], (), Tally())).decode()
        for line in (
            'forklight_invocations_total{function="f",outcome="ok"} 11.0',
            'forklight_version_invocations_total{function="f",outcome="ok",version="1"} 6.0',
            'forklight_version_invocations_total{function="f",outcome="ok",version="2"} 5.0',
            'forklight_version_share_ratio{function="f",version="2"} 0.5',
            'forklight_instances{function="f",state="idle"} 2.0',
            'forklight_version_instances{function="f",state="idle",version="2"} 1.0',
        ):
            assert line in scraped.splitlines()
        assert "f@2" not in scraped
        assert [version(by_name[name]).split()[:2] for name in ("f", "f@2")] == [["1", "50%"], ["2", "50%"]]
        assert dispatcher.records.of("f@2").outcomes == {"ok": 5}
        assert dispatcher.records["f"].outcomes == {"ok": 11}

        dispatcher.remove("f@2")
        assert (await run(dispatcher, id=TO_VARIANT)).release == 1
        assert dispatcher.records["f"].outcomes == {"ok": 12}, "what a variant has counted stays the function's"
        await until(lambda: set(templates(bench).values()) == {functions["f"].spec.version})
        await until(lambda: dispatcher.runners()["f"].family is None)
        with pytest.raises(LookupError, match="'f@2' is no variant of 'f' that is served"):
            dispatcher.split("f", "f@2", 0.5)
        with pytest.raises(LookupError):
            dispatcher.add("g@2", functions["f@2"])
        assert failure(await run(dispatcher, "f@2")).code == "UnknownFunction"
        dispatcher.summon = functions.get
        assert (await run(dispatcher, "f@2")).version == "the second", "an event that asks for a version may bring it"


async def test_a_kept_version_that_cannot_be_summoned_is_not_called_unknown(bench: Bench) -> None:
    async with dispatching(bench, pair(bench)) as dispatcher:
        dispatcher.number_of = lambda function, version: int(version)
        dispatcher.absence = lambda function, number: "version 3 is kept, but not loaded yet" if number == 3 else ""
        assert dispatcher.version("f", "2") == "f@2"
        with pytest.raises(LookupError, match=r"^f: version 3 is kept, but not loaded yet$"):
            dispatcher.version("f", "3")
        with pytest.raises(LookupError, match=r"^f has no version '4': 1 \(live\) serves; forklight versions lists"):
            dispatcher.version("f", "4")


async def test_a_promotion_keeps_the_template_of_the_variant(bench: Bench) -> None:
    functions = pair(bench)
    async with dispatching(bench, functions) as dispatcher:
        dispatcher.split("f", "f@2", 1)
        assert (await run(dispatcher)).release == 2
        [(number, _)] = [one for one in templates(bench).items() if one[1] == "the second"]

        dispatcher.renew("f", functions["f@2"], [])
        dispatcher.label("f", 2)
        dispatcher.remove("f@2")

        assert (await run(dispatcher)).release == 2
        await until(lambda: templates(bench) == {number: "the second"})
        await until(lambda: dispatcher.runners()["f"].family is None)
        assert (await run(dispatcher)).start == "warm"
        assert templates(bench) == {number: "the second"}


async def test_an_unchanged_function_answers_for_the_new_release_with_its_old_processes(bench: Bench) -> None:
    async with dispatching(bench, pair(bench)) as dispatcher:
        before = await run(dispatcher)
        dispatcher.label("f", 7)
        after = await run(dispatcher)

        assert (before.release, after.release) == (1, 7)
        assert (after.instance, after.start) == (before.instance, "warm")
        assert dispatcher.records.of("f").outcomes == {"ok": 1}
        assert dispatcher.records["f"].outcomes == {"ok": 2}


def busy(dispatcher: Dispatcher) -> dict[str, int]:
    return {name: one.busy for name, one in dispatcher.statistics().items() if one.busy}


@pytest.mark.invariant("I6")
async def test_both_versions_together_have_no_more_instances_than_one_may(bench: Bench) -> None:
    """With `max_instances = 1` they take turns: an idle instance goes at once, a busy one after a second."""
    with closed_gate() as gate:
        async with (
            dispatching(bench, pair(bench, "held", max_instances=1)) as dispatcher,
            anyio.create_task_group() as tg,
        ):
            most = 0

            def living() -> int:
                nonlocal most
                now = dispatcher.statistics().values()
                most = max(most, sum(one.starting + one.idle + one.busy for one in now))
                return most

            def begin(name: str) -> None:
                tg.start_soon(run, dispatcher, name, gate.path)

            begin("f@1")
            await until(lambda: living() and busy(dispatcher) == {"f": 1})
            gate.release()
            await until(lambda: dispatcher.statistics()["f"].idle == 1)
            begin("f@2")
            await until(lambda: living() and busy(dispatcher) == {"f@2": 1})
            for _ in range(3):
                begin("f@2")
            tg.start_soon(partial(run, dispatcher, "f@1", gate.path, id="late"))
            await until(lambda: dispatcher.statistics()["f"].waiting == 1)
            await anyio.sleep(1.1)
            gate.release()
            await until(lambda: living() and busy(dispatcher) == {"f": 1})
            gate.release(4)
            await until(lambda: living() and not busy(dispatcher) and dispatcher.records["f"].outcomes == {"ok": 6})
            assert most == 1
            reason = dispatcher.runners()["f"].reasons.of("late", 1)
            assert reason is not None
            assert reason.cause == Cause("other_version")


@pytest.mark.invariant("I10")
async def test_an_event_waits_for_what_its_key_still_runs_on_another_version(bench: Bench) -> None:
    with closed_gate() as first, closed_gate() as second:
        functions = pair(bench, "by_key", reuse=Reuse.parse("key:data.key"))
        async with dispatching(bench, functions) as dispatcher, anyio.create_task_group() as tg:
            found: list[tuple[str, Outcome]] = []

            async def go(key: str, gate: Gate, **fields: Any) -> None:
                found.append((key, await run(dispatcher, data={"key": key, "gate": gate.path}, **fields)))

            for _ in range(2):
                tg.start_soon(go, "a", first)
            await until(lambda: busy(dispatcher) == {"f": 1} and dispatcher.statistics()["f"].waiting == 1)
            dispatcher.split("f", "f@2", 1)
            tg.start_soon(partial(go, "a", second, id="held"))
            tg.start_soon(go, "b", second)
            await until(lambda: busy(dispatcher) == {"f": 1, "f@2": 1})
            second.release(2)
            await until(lambda: len(found) == 1)
            dispatcher.remove("f@2")
            dispatcher.add("f@2", functions["f@2"])
            dispatcher.split("f", "f@2", 1)
            first.release(2)
            await until(lambda: len(found) == 4)
            assert [(key, outcome.release) for key, outcome in found] == [("b", 2), ("a", 1), ("a", 1), ("a", 2)]
            reason = dispatcher.runners()["f@2"].reasons.of("held", 1)
            assert reason is not None
            assert reason.cause == Cause("other_key")


async def test_what_waits_for_another_version_is_bounded_in_number_and_in_time(bench: Bench) -> None:
    with closed_gate() as gate:
        functions = pair(bench, "by_key", reuse=Reuse.parse("key:data.key"))
        impatient = replace(functions["f@2"].pool, max_wait_s=0.5, max_waiting=2)
        functions["f@2"] = replace(functions["f@2"], pool=impatient)
        data = {"key": "a", "gate": gate.path}
        async with dispatching(bench, functions) as dispatcher, anyio.create_task_group() as tg:
            tg.start_soon(partial(run, dispatcher, data=data))
            await until(lambda: busy(dispatcher) == {"f": 1})
            dispatcher.split("f", "f@2", 1)
            expired: list[Outcome] = []

            async def wait() -> None:
                expired.append(await run(dispatcher, data=data))

            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as leaving:
                    leaving.start_soon(partial(run, dispatcher, data=data))
                    tg.start_soon(wait)
                    await anyio.wait_all_tasks_blocked()
                    assert failure(await run(dispatcher, data=data)).code == "QueueFull"
                    scope.cancel()
            await until(lambda: expired)
            assert failure(expired[0]).code == "WaitExpired"
            assert (expired[0].release, dispatcher.statistics()["f@2"].starting) == (2, 0)
            gate.release()
            await until(lambda: dispatcher.records["f"].outcomes["ok"] == 1)
            assert dispatcher.records["f"].outcomes == {"ok": 1, "throttled": 2}


async def test_events_of_a_variant_that_cannot_load_run_on_the_version_that_serves(bench: Bench) -> None:
    functions = pair(bench)
    broken = replace(functions["f@2"].spec, handler="missing:handler")
    async with dispatching(bench, functions | {"f@2": replace(functions["f@2"], spec=broken)}) as dispatcher:
        dispatcher.split("f", "f@2", 1)
        failed = failure(await run(dispatcher))
        assert (failed.kind, failed.release) == ("load", 2)
        assert failed.retry_after_s == 0, "the consumer of a queue goes on at once"
        assert (await run(dispatcher)).release == 1
        assert failure(await run(dispatcher, "f@2")).kind == "load", "whoever asks for it is told"
        assert dispatcher.pool("f").capacity() > 0
