"""What an import leaves open: which functions are forked nevertheless, which are not, and what is logged."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.spec import FunctionSpec
from tests.kit.support import Bench, answer, event, readable_folder, until

pytestmark = pytest.mark.any_user


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that functions can write to."""
    with readable_folder() as folder:
        folder.chmod(0o777)
        yield folder


def leaving(bench: Bench, what: str, handler: str = "handler", folder: Path | None = None) -> FunctionSpec:
    return bench.spec("leftovers", handler, env={"LEAVE": what, "SHARED": str(folder or "/nowhere")})


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("loop", "an event loop"),
        ("current_loop", "an event loop"),
        ("selector", "epoll (a selector or an event loop) (function.SELECTOR"),
        ("connection", "TCP to 127.0.0.1:"),
        ("pipe", "a pipe"),
        ("eventfd", "eventfd"),
        ("pidfd", "pidfd"),
        ("database", "a.db (in function.held, made at function.py:21)"),
        ("helper", "(sleep)"),
        ("scratch", "open to read and write"),
    ],
)
async def test_what_cannot_be_forked_has_each_instance_loaded(bench: Bench, folder: Path, what: str, said: str) -> None:
    spec = leaving(bench, what, folder=folder)
    found = [await bench.tree.start(spec) for _ in range(2)]
    zygote = bench.tree.zygotes()[0].pid

    assert [answer(await instance.invoke(event())) for instance, _ in found] == [zygote] * 2
    assert [kind for _, kind in found] == ["boot", "load"]
    (told,) = bench.texts()
    assert said in told
    assert "each instance loads the function" in told
    assert "after_fork" in told
    cause = bench.tree.cause_of(spec, "load")
    assert cause is not None
    assert cause.code == "unforkable"
    assert said in cause.detail


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("listener", "TCP on 127.0.0.1:"),
        ("datagrams", "UDP to 127.0.0.1:8125"),
        ("strange_objects", "UDP to 127.0.0.1:8125 (in function.held"),
        ("held_lock", "the lock on"),
        ("lock", "a lock of multiprocessing"),
        ("segment", "the shared memory /dev/shm/"),
        ("mapping", "memory mapped from /dev/zero"),
    ],
)
async def test_what_may_be_shared_is_told(bench: Bench, folder: Path, what: str, said: str) -> None:
    spec = leaving(bench, what, folder=folder)
    kinds = [(await bench.tree.start(spec))[1] for _ in range(2)]

    assert kinds == ["boot", "fork"]
    (told,) = bench.texts()
    assert said in told
    assert "all instances share it" in told


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("thread_lock", "a held threading.Lock (in function.held, made at function.py:"),
        ("nested_lock", "a held threading.RLock (in function.held, made at function.py:"),
        ("process_lock", "a held multiprocessing.Lock (in function.held, made at function.py:"),
    ],
)
async def test_a_lock_that_is_held_is_told(bench: Bench, what: str, said: str) -> None:
    spec = leaving(bench, what)
    kinds = [(await bench.tree.start(spec))[1] for _ in range(2)]

    assert kinds == ["boot", "fork"]
    told = bench.texts()[-1]
    assert said in told
    assert "release it before the import ends" in told


@pytest.mark.parametrize(
    "what",
    [
        "nothing",
        "closed_loop",
        "ended_helper",
        "memory_database",
        "log_file",
        "reader",
        "writer",
        "devices",
        "free_locks",
    ],
)
async def test_what_harms_nobody_is_forked_in_silence(bench: Bench, folder: Path, what: str) -> None:
    (folder / "numbers").touch()
    spec = leaving(bench, what, folder=folder)
    kinds = [(await bench.tree.start(spec))[1] for _ in range(2)]

    assert (kinds, bench.texts()) == (["boot", "fork"], [])


async def test_a_loop_made_at_import_works_in_many_instances_at_once(bench: Bench) -> None:
    spec = leaving(bench, "loop", "runs_in_loop")
    instances = [instance for instance, _ in [await bench.tree.start(spec) for _ in range(3)]]

    async def use(n: int) -> None:
        for _ in range(10):
            assert answer(await instances[n].invoke(event())) == instances[n].pid

    async with asyncio.timeout(40):
        await asyncio.gather(*map(use, range(3)))


async def test_a_file_that_is_read_has_a_position_in_each_instance(bench: Bench, folder: Path) -> None:
    numbers = "".join(f"{n:010}" for n in range(3))
    (folder / "numbers").write_text(numbers)
    spec = leaving(bench, "reader", "reads", folder)
    instances = [instance for instance, _ in [await bench.tree.start(spec) for _ in range(4)]]

    for _ in range(5):
        found = await asyncio.gather(*(instance.invoke(event()) for instance in instances))
        assert [answer(each) for each in found] == [[numbers]] * 4


async def test_a_file_that_is_written_keeps_the_lines_of_all(bench: Bench, folder: Path) -> None:
    spec = leaving(bench, "writer", "writes", folder)
    instances = [instance for instance, _ in [await bench.tree.start(spec) for _ in range(3)]]
    pids = [answer(each) for each in await asyncio.gather(*(one.invoke(event()) for one in instances))]

    expected = ["import", *(f"{pid} {n}" for pid in pids for n in range(20))]
    assert sorted((folder / "lines").read_text().splitlines()) == sorted(expected)


async def test_a_lock_excludes_the_other_instances(bench: Bench, folder: Path) -> None:
    spec = leaving(bench, "lock_file", "locks", folder)
    (holder, _), (other, _) = await bench.tree.start(spec), await bench.tree.start(spec)
    body = f'"{folder / "enough"}"'.encode()
    holding = holder.invoke(event(body))
    await until(lambda: "FLOCK" in _locks(folder / "lock"))

    assert answer(await other.invoke(event(body))) is False
    (folder / "enough").touch()
    assert answer(await holding) is True


def _locks(path: Path) -> str:
    inode = path.stat().st_ino
    return "".join(line for line in Path("/proc/locks").read_text().splitlines() if f":{inode} " in line)
