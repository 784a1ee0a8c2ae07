"""The status for `ps` and the metrics, from a real tree with a real pool."""

import contextlib
from collections.abc import AsyncIterator

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.dispatcher import Dispatcher
from dispatcher.settings import Function, PoolSettings
from forklight.observe import metrics
from forklight.observe.function_status import function_statuses
from forklight.observe.status import FunctionStatus, Instances
from forklight.observe.tally import Tally
from sandbox.tree import Tree
from sandbox.usage import LEAST_KB
from tests.kit.support import answer, event, failure, running_tree, until
from tests.kit.targets import outcome_of

pytestmark = pytest.mark.ordinary_user


@contextlib.asynccontextmanager
async def _dispatching(**handlers: str) -> AsyncIterator[tuple[Tree, Dispatcher]]:
    """Functions by name, each `folder/handler` of `tests/functions`."""
    async with running_tree() as bench, anyio.create_task_group() as tasks:
        specs = {name: bench.spec(*handler.split("/"), name=name) for name, handler in handlers.items()}
        functions = {name: Function(spec=spec, pool=PoolSettings(spare=0)) for name, spec in specs.items()}
        dispatcher = Dispatcher(functions, bench.tree, tasks)
        yield bench.tree, dispatcher
        dispatcher.stop()
        tasks.cancel_scope.cancel()


def _statuses(tree: Tree, dispatcher: Dispatcher) -> dict[str, FunctionStatus]:
    return {status.name: status for status in function_statuses(dispatcher, tree, {"plain": ("http /plain",)})}


async def test_what_is_told_of_each_function() -> None:
    handlers = {"plain": "plain/handler", "fails": "plain/fails", "broken": "broken/missing:handler"}
    async with _dispatching(**handlers) as (tree, dispatcher):
        answer(await outcome_of(dispatcher, event(function="plain")))
        failed = failure(await outcome_of(dispatcher, event(function="fails")))
        failure(await outcome_of(dispatcher, event(function="broken")))
        statuses = _statuses(tree, dispatcher)
    plain, fails, broken = (statuses[name] for name in handlers)

    assert (plain.template, plain.triggers, plain.loaded_each) == ("ready", ("http /plain",), "")
    assert (plain.outcomes, sum(plain.starts.values()), plain.last_failure) == ({"ok": 1}, 1, "")
    assert plain.instances == Instances(starting=0, idle=1, busy=0, leaving=0, waiting=0)
    assert plain.memory_kb >= 2 * LEAST_KB, "a template and an instance"

    assert (fails.outcomes, fails.failures) == ({"error": 1}, {"ValueError": 1})
    assert fails.last_failure == f"error/ValueError: {failed.message}"

    assert broken.template.startswith("ImportModuleError: ")
    assert "; again in " in broken.template
    assert (broken.failures, broken.starts) == ({"ImportModuleError": 1}, {})
    assert broken.instances == Instances(starting=0, idle=0, busy=0, leaving=0, waiting=0)


async def test_who_keeps_threads_is_named() -> None:
    async with _dispatching(threads="threads/handler") as (tree, dispatcher):
        answer(await outcome_of(dispatcher, event(function="threads")))
        await until(lambda: _statuses(tree, dispatcher)["threads"].loaded_each)
        assert "function" in str(_statuses(tree, dispatcher)["threads"].loaded_each)


async def test_a_scrape_tells_the_same() -> None:
    async with _dispatching(plain="plain/handler", fails="plain/fails") as (tree, dispatcher):
        for name in ("plain", "plain", "fails"):
            await outcome_of(dispatcher, event(function=name))
        statuses = tuple(_statuses(tree, dispatcher).values())
        machine = dispatcher.machine.status()
        text = metrics.text(metrics.gather(dispatcher.records, statuses, (), Tally(), machine=machine)).decode()
    families = list(text_string_to_metric_families(text))
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }
    assert all(family.documentation and family.name.startswith("forklight_") for family in families)
    assert samples["forklight_invocations_total", "ok", "plain"] == 2
    assert samples["forklight_invocations_total", "error", "fails"] == 1
    assert samples["forklight_failures_total", "ValueError", "fails"] == 1
    assert samples["forklight_instances", "idle", "plain"] == 1
    assert samples["forklight_instances", "plain", "spare"] == statuses[0].instances.spare
    assert (samples["forklight_running_calls", "plain"], samples["forklight_slots", "plain"]) == (0, 1)
    assert samples["forklight_machine_memory_bytes", "used"] == machine.memory_bytes
    assert samples["forklight_machine_instances", "used"] == machine.instances >= 2
    assert ("forklight_machine_instances", "limit") not in samples
    assert (samples["forklight_machine_waiting_functions",], samples["forklight_evictions_total", "idle"]) == (0, 0)
    assert samples["forklight_invocation_cpu_seconds_total", "plain"] > 0
    for name in ("forklight_invocation_duration_seconds", "forklight_queue_wait_seconds"):
        buckets = [value for key, value in samples.items() if key[0] == f"{name}_bucket" and "plain" in key]
        assert buckets == sorted(buckets), "buckets are cumulative"
        assert buckets[-1] == samples[f"{name}_count", "plain"] == 2
