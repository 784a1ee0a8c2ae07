"""Failures before the first event: each has its code, its message and its back-off."""

import asyncio
import time

import pytest

from sandbox.errors import LoadFailed
from sandbox.spec import MIB, FunctionSpec, Hooks, Limits
from tests.kit.support import Bench, answer, event, processes_with, until

pytestmark = pytest.mark.any_user


async def refused(bench: Bench, spec: FunctionSpec) -> LoadFailed:
    with pytest.raises(LoadFailed) as failed:
        await bench.tree.start(spec)
    return failed.value


@pytest.mark.parametrize(
    ("handler", "code", "message"),
    [
        ("syntax:handler", "SyntaxError", "syntax.py:1: expected ':'"),
        ("missing:handler", "ImportModuleError", "pip install requests_but_misspelt"),
        ("nowhere:handler", "ImportModuleError", "not in the function's code"),
        ("odd:handle", "HandlerNotFound", "did you mean 'handler'?"),
        ("odd:number", "HandlerNotFound", "not callable"),
        ("odd:Handler", "HandlerNotFound", "is a class"),
        ("raises:handler", "InitFailed", "ConnectionError: the database said no"),
        ("exits:handler", "InitFailed", "SystemExit: bye"),
        ("hard_exit:handler", "InitFailed", "ended: exit code 7"),
        ("segfaults:handler", "InitFailed", "ended: SIGSEGV"),
    ],
)
async def test_a_function_that_cannot_load_says_why(bench: Bench, handler: str, code: str, message: str) -> None:
    failed = await refused(bench, bench.spec("broken", handler))

    assert failed.code == code
    assert message in failed.message
    await until(lambda: not bench.tree.templates())


async def test_a_module_one_folder_too_deep_says_so(bench: Bench) -> None:
    """As in the zip of a code forge."""
    (bench.code / "zipped/shop-1.4").mkdir(parents=True)
    (bench.code / "zipped/shop-1.4/greet.py").write_text("def handler(event): ...\n")
    failed = await refused(bench, bench.spec("zipped", "greet:handler"))

    assert failed.message.endswith("; all of the code is in the folder shop-1.4/, whose contents have to be the code")


async def test_a_process_that_ends_as_it_loads_is_quoted(bench: Bench) -> None:
    failed = await refused(bench, bench.spec("broken", "hard_exit:handler"))

    assert failed.traceback.endswith("its last output:\n  no LICENCE")


async def test_the_traceback_of_an_import_is_the_authors(bench: Bench) -> None:
    failed = await refused(bench, bench.spec("broken", "raises:handler"))

    assert "raises.py" in failed.traceback
    assert "in connect" in failed.traceback
    assert "_forklight" not in failed.traceback


async def test_a_crash_at_import_leaves_its_stack(bench: Bench) -> None:
    failed = await refused(bench, bench.spec("broken", "segfaults:handler"))

    assert "Segmentation fault" in failed.traceback
    assert "segfaults.py" in failed.traceback


@pytest.mark.parametrize(("handler", "place"), [("hangs", "in forever"), ("hangs_in_c", "hangs_in_c.py")])
async def test_an_import_that_hangs_is_ended_with_its_stack(bench: Bench, handler: str, place: str) -> None:
    failed = await refused(bench, bench.spec("broken", f"{handler}:handler", init_timeout_s=0.3))

    assert failed.code == "InitTimeout"
    assert "longer than init_timeout, 0.3 s" in failed.message
    assert place in failed.traceback
    assert "_forklight" not in failed.traceback


async def test_a_hook_that_hangs_is_the_same(bench: Bench) -> None:
    failed = await refused(bench, bench.spec("hooks", hooks=Hooks(init="function:hangs"), init_timeout_s=0.3))

    assert failed.code == "InitTimeout"
    assert "in hangs" in failed.traceback


async def test_an_import_that_uses_too_much_memory_is_ended(bench: Bench) -> None:
    limits = Limits(template_memory_bytes=64 * MIB)
    failed = await refused(bench, bench.spec("broken", "grows:handler", limits=limits))

    assert failed.code == "InitFailed"
    assert "64 MiB" in failed.message or "MemoryError" in failed.message


async def test_a_failure_longer_than_a_message_arrives_cut(bench: Bench) -> None:
    failed = await refused(bench, bench.spec("broken", "long_story:handler"))

    assert failed.code == "InitFailed"
    assert "importing 'long_story' failed" in failed.message
    assert failed.traceback != ""


async def test_a_failed_load_leaves_nothing_behind(bench: Bench) -> None:
    failed = await refused(bench, bench.spec("broken", "litters:handler"))

    assert "after all that" in failed.message
    await until(lambda: not _children_of_the_tree(bench))


def _children_of_the_tree(bench: Bench) -> set[int]:
    """The children of the zygote: templates and orphans."""
    (zygote,) = bench.tree.zygotes()
    with open(f"/proc/{zygote.pid}/task/{zygote.pid}/children") as children:
        return set(map(int, children.read().split()))


async def test_what_fails_is_refused_at_once_for_a_while_with_the_stored_reason(bench: Bench) -> None:
    spec = bench.spec("broken", "raises:handler")
    first = await refused(bench, spec)
    again = await refused(bench, spec)

    assert first.retry_at_ns == again.retry_at_ns
    assert (again.code, again.message, again.traceback) == (first.code, first.message, first.traceback)
    assert again.retry_at_ns is not None
    assert again.retry_at_ns > time.monotonic_ns()


async def test_all_who_wait_for_a_load_that_fails_learn_of_it(bench: Bench) -> None:
    spec = bench.spec("broken", "raises:handler")
    results = await asyncio.gather(*(bench.tree.start(spec) for _ in range(5)), return_exceptions=True)

    assert {type(result) for result in results} == {LoadFailed}
    assert {str(result) for result in results} == {"importing 'raises' failed: ConnectionError: the database said no"}


async def test_one_function_that_fails_is_no_matter_for_another(bench: Bench) -> None:
    await refused(bench, bench.spec("broken", "segfaults:handler"))

    assert (await bench.answer(bench.spec("plain")))["calls"] == 1


async def test_an_abandoned_load_is_ended(bench: Bench) -> None:
    spec = bench.spec("broken", "hangs:handler")
    starting = asyncio.create_task(bench.tree.start(spec))
    (template,) = await until(lambda: [one for one in bench.tree.templates() if one.pid])
    starting.cancel()
    await template.gone.wait()

    assert bench.tree.templates() == []


async def test_a_load_under_way_does_not_hold_up_the_end(bench: Bench) -> None:
    """The fixture ends the tree during an import that would take 30 s to give up."""
    starting = asyncio.create_task(bench.tree.start(bench.spec("broken", "hangs:handler")))
    await until(lambda: [one for one in bench.tree.templates() if one.pid])
    await asyncio.wait({starting, asyncio.create_task(bench.tree.close())})

    assert isinstance(starting.exception(), LoadFailed)


async def test_a_version_dropped_while_it_loads_ends(bench: Bench) -> None:
    spec = bench.spec("plain")
    starting = asyncio.create_task(bench.tree.start(spec))
    (template,) = await until(bench.tree.templates)
    bench.tree.drop(spec)
    await asyncio.wait({starting})
    await template.gone.wait()

    assert bench.tree.templates() == []


async def test_whoever_waits_for_a_version_that_is_dropped_meanwhile_gets_it(bench: Bench) -> None:
    """As a reload does, whose function comes to rest at that moment."""
    spec = bench.spec("plain")
    loading = asyncio.create_task(bench.tree.load(spec))
    (dropped,) = await until(bench.tree.templates)
    bench.tree.drop(spec)
    template = await loading

    assert template is not dropped
    assert bench.tree.template_of(spec) is template
    await dropped.gone.wait()


async def test_a_dropped_version_finishes_what_runs(bench: Bench) -> None:
    spec = bench.spec("plain")
    await bench.tree.start(bench.spec("plain", "parent"))  # another function, which keeps the zygote alive
    instance, _ = await bench.tree.start(spec)
    template = bench.tree.templates()[-1]
    call = instance.invoke(event())
    bench.tree.drop(spec)

    assert answer(await call)["calls"] == 1
    await template.gone.wait()
    assert instance.state == "dead"
    _, kind = await bench.tree.start(spec)
    assert kind == "load"


async def test_no_process_of_a_broken_function_is_left(bench: Bench) -> None:
    await refused(bench, bench.spec("broken", "hard_exit:handler"))
    await until(lambda: not bench.tree.templates())

    assert {zygote.pid for zygote in bench.tree.zygotes()} == processes_with(str(bench.folders.parent))
