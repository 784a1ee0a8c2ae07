"""How calls, instances and functions end that do not go well, in every runtime."""

import asyncio

import pytest
from msgspec.structs import replace

from bus import Ok
from sandbox.containment import Level
from sandbox.errors import LoadFailed
from sandbox.spec import MIB, Limits
from tests.conformance.conftest import Runtimes
from tests.kit.support import answer, event, failure, is_gone, until

pytestmark = [pytest.mark.any_user, pytest.mark.asyncio(loop_scope="module")]
TIMEOUT_S = 0.2


async def test_a_handler_that_obeys_at_its_deadline_is_a_timeout(runtime: Runtimes) -> None:
    instance = await runtime.start("waits", timeout_s=TIMEOUT_S, grace_s=10.0)
    failed = failure(await instance.invoke(event()))

    assert (failed.kind, failed.code) == ("timeout", "Timeout")
    assert instance.is_serving is runtime.subject.survives
    instance.leave()
    await until(lambda: is_gone(instance.pid))


@pytest.mark.parametrize("handler", ["spins", "stays"])
async def test_a_handler_that_does_not_obey_is_killed_with_all_that_it_started(runtime: Runtimes, handler: str) -> None:
    instance = await runtime.start(handler, timeout_s=TIMEOUT_S, grace_s=0.2)
    failed = failure(await instance.invoke(event()))

    assert (failed.kind, failed.code) == ("timeout", "Timeout")
    assert failed.traceback, "a stack, or the reason why there is none"
    await until(lambda: is_gone(instance.pid))
    if handler == "stays" and runtime.spec("x").containment.level is not Level.NAMESPACES:
        (child,) = [line.text.removeprefix("child ") for line in runtime.bench.lines if line.text.startswith("child ")]
        await until(lambda: is_gone(int(child)))


async def test_a_process_that_ends_in_a_call_is_a_crash_and_the_next_event_gets_another(runtime: Runtimes) -> None:
    spec = runtime.spec("exits")
    for code in (3, 0):
        instance, _ = await runtime.bench.tree.start(spec)
        failed = failure(await instance.invoke(event(str(code).encode())))
        assert (failed.kind, failed.code) == ("crash", "Exit")
        assert f"exit code {code}" in failed.message
        await until(lambda: is_gone(instance.pid))  # noqa: B023  awaited in this round
    assert any(line.text == "last words" and line.invocation for line in runtime.bench.lines)


async def test_a_signal_is_a_crash(runtime: Runtimes) -> None:
    failed = failure(await runtime.outcome("dies"))

    assert failed.kind == "crash"
    if runtime.spec("dies").containment.level is Level.NAMESPACES:  # no signal of its own ends the first process there
        assert failed.code in ("Signal", "Exit")
    else:
        assert (failed.code, failed.message) == ("Signal", "the instance was ended by SIGABRT")


async def test_what_an_instance_has_started_ends_with_it(runtime: Runtimes) -> None:
    instance = await runtime.start("leaves_a_child")
    child = answer(await instance.invoke(event()))
    instance.leave()
    await until(lambda: is_gone(instance.pid))

    if runtime.spec("x").containment.level is not Level.NAMESPACES:  # there it has a number of its own
        await until(lambda: is_gone(child))


async def test_too_much_memory_is_the_end_of_the_instance(runtime: Runtimes) -> None:
    failed = failure(await runtime.outcome("hoards", limits=Limits(memory_bytes=160 * MIB)))

    assert (failed.kind, failed.code) == ("crash", "MemoryExceeded")


@pytest.mark.parametrize("name", ["broken", "never_ready", "missing"])
async def test_a_function_that_cannot_begin_fails_to_load(runtime: Runtimes, name: str) -> None:
    spec = runtime.spec(name, init_timeout_s=0.5 if name == "never_ready" else 30.0, grace_s=0.2)
    if name == "missing" and spec.runtime.kind == "command":
        spec = replace(spec, runtime=replace(spec.runtime, command=("./missing",)))
    with pytest.raises(LoadFailed) as caught:
        await runtime.bench.tree.start(spec)

    error = caught.value
    if name == "broken":
        assert error.code == runtime.subject.broken_code
        assert "cannot begin" in error.message
        assert "broken" in error.traceback
    elif name == "never_ready":
        assert error.code == "InitTimeout"
        assert "_forklight" not in error.traceback, "no stack of ours"
    else:
        assert error.code in ("ImportModuleError", "HandlerNotFound", "InitFailed")
        assert "missing" in error.message


async def test_a_start_that_lacks_a_variable_names_it_and_what_sets_it(runtime: Runtimes) -> None:
    with pytest.raises(LoadFailed, match="DATABASE_URL") as caught:
        await runtime.bench.tree.start(runtime.spec("unset"))

    if runtime.subject.name != "python":  # that has hints of its own, for exceptions
        assert "a function gets only the variables of its env, env_file and secrets" in caught.value.message
        assert "its last output:\n  looking for the database" in caught.value.traceback


async def test_an_instance_that_leaves_finishes_its_call(runtime: Runtimes) -> None:
    instance = await runtime.start("measure")
    call = instance.invoke(event(b"1"))
    instance.leave()

    assert isinstance(await call, Ok)
    await asyncio.wait_for(until(lambda: is_gone(instance.pid)), 30)
