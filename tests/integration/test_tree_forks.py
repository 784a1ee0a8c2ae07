"""What forks must not share: replies, children, random numbers, contexts, the end of the process."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from sandbox.spec import Hooks
from tests.kit.support import Bench, answer, event, is_gone, until

pytestmark = pytest.mark.any_user


@pytest.mark.parametrize(("how", "code"), [("returns", 0), ("raises", 1), ("exits", 3), ("says", 1)])
async def test_a_child_that_leaves_the_handler_ends_and_its_parent_answers(bench: Bench, how: str, code: int) -> None:
    instance, _ = await bench.tree.start(bench.spec("forks", "falls_out"))

    for _ in range(3):
        assert answer(await instance.invoke(event(f'"{how}"'.encode()))) == code
    said = {"raises": "ValueError: in the child", "says": "goodbye"}.get(how, "in the child")
    assert bench.texts().count(said) == 3
    assert not any("exit in" in text for text in bench.texts())


async def test_a_child_that_goes_on_in_the_event_loop_reads_nothing_of_its_parents(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("forks", "falls_out_later"))

    for _ in range(5):
        assert answer(await instance.invoke(event())) == "parent"


@pytest.mark.parametrize("hook", ["init", "after_fork", "stop"])
async def test_a_child_that_leaves_a_hook_is_no_second_instance(bench: Bench, hook: str) -> None:
    spec = bench.spec("forks", "remembers", hooks=Hooks(**{hook: "function:fork_in_hook"}))
    instance, _ = await bench.tree.start(spec)

    for _ in range(3):
        assert answer(await instance.invoke(event())) == "import"
    instance.leave()
    await until(lambda: instance.state == "dead" and is_gone(instance.pid))


@pytest.mark.parametrize("handler", ["orphan", "async_orphan"])
async def test_orphans_are_reaped_although_no_call_comes(bench: Bench, tmp_path: Path, handler: str) -> None:
    file = bench.folders / "ends"
    instance, _ = await bench.tree.start(bench.spec("forks", handler))
    pids = [answer(await instance.invoke(event(f'"{file}"'.encode()))) for _ in range(3)]
    assert not any(map(is_gone, pids))
    file.touch()
    try:
        await until(lambda: all(map(is_gone, pids)))
    finally:
        file.unlink()
    assert not instance.is_dead


async def test_what_is_reaped_is_nobodys_child(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("forks", "children"))

    async def do(what: str) -> object:
        return answer(await instance.invoke(event(f'{{"do": "{what}", "file": "/"}}'.encode())))

    await do("keep")
    await until(partial(_all_ended, instance.pid))
    assert await do("states") == ["Z", "Z", "Z"]
    assert await do("wait") == [7, 8, 9]
    assert await do("states") == []


def _all_ended(pid: int) -> bool:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    states = [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in children]
    return len(states) <= 4 and all(state == "Z" for state in states)


async def test_each_call_has_a_context_of_its_own(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("forks", "remembers"))

    assert [answer(await instance.invoke(event())) for _ in range(2)] == ["import", "import"]


async def test_a_generator_made_at_import_is_another_in_each_instance(bench: Bench) -> None:
    spec = bench.spec("forks", "chance")
    numbers = [number for _ in range(3) for number in await bench.answer(spec)]

    assert len(set(numbers)) == 6


async def test_exit_functions_run_at_an_instances_end_once(bench: Bench) -> None:
    spec = bench.spec("forks", "scratch")
    leaver, _ = await bench.tree.start(spec)
    stayer, _ = await bench.tree.start(spec)
    leaver.leave()

    await until(lambda: leaver.state == "dead" and is_gone(leaver.pid))
    assert bench.texts() == [f"exit in {leaver.pid}"]
    assert answer(await stayer.invoke(event())) is True  # an instance that leaves must not remove what the import made


async def test_finalizers_of_an_instance_run_at_its_end(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("forks", "finalizers"))
    await instance.invoke(event())
    instance.leave()

    await until(lambda: f"finalized in {instance.pid}" in bench.texts())


@pytest.mark.parametrize("hook", ["fails_at_exit", "hangs_at_exit"])
async def test_an_exit_function_can_neither_fail_an_end_nor_delay_it(bench: Bench, hook: str) -> None:
    spec = bench.spec("forks", "remembers", hooks=Hooks(after_fork=f"function:{hook}"), grace_s=0.05)
    instance, _ = await bench.tree.start(spec)
    answer(await instance.invoke(event()))
    dead = asyncio.Event()
    instance.on_dead = lambda _instance: dead.set()
    instance.leave()

    await dead.wait()
    assert ("exit in" in " ".join(bench.texts())) == (hook == "fails_at_exit")


async def test_a_template_does_not_grow_with_its_forks(bench: Bench) -> None:
    spec = bench.spec("forks", "heap")
    heaps = [await bench.answer(spec) for _ in range(150)]

    assert max(heaps[50:]) - heaps[20] < 2000  # growth of 186 bytes per fork would be more than 14,000
