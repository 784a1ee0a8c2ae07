"""Failed starts: the waiting event, the log and `ps` say why, and a later start succeeds."""

import contextlib
import itertools
import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from msgspec.structs import replace

from sandbox.errors import LoadFailed, StartFailed
from sandbox.spec import Runtime
from tests.kit.serving import closed_gate, serving
from tests.kit.support import Bench, answer, until

pytestmark = pytest.mark.any_user


@contextlib.contextmanager
def no_folder(bench: Bench) -> Iterator[None]:
    """A file is where private folders are to be made."""
    aside = bench.folders.with_name("aside")
    bench.folders.rename(aside)
    bench.folders.touch()
    try:
        yield
    finally:
        bench.folders.unlink()
        aside.rename(bench.folders)


@contextlib.contextmanager
def no_descriptor(_bench: Bench) -> Iterator[None]:
    """The server is at its limit of open files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sandbox.launch.SPARE_DESCRIPTORS", 10**9)
        yield


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        (no_folder, "no private folder in .*: Not a directory"),
        (no_descriptor, "file descriptors open: raise its limit"),
    ],
)
async def test_why_an_instance_cannot_be_started_is_told_until_one_is(
    bench: Bench, obstacle: Callable[[Bench], AbstractContextManager[None]], reason: str
) -> None:
    spec = bench.spec("pool_work", "held")
    await bench.tree.load(spec)
    with closed_gate() as gate:
        async with serving(bench.tree, spec, max_instances=2, max_wait_s=1.0) as served:
            first = served.begin(gate.path)
            await until(lambda: served.running() == 1)
            with obstacle(bench):
                failed = await served.failure(gate.path)
            problem = bench.tree.problem_of(spec)
            (told,) = (line for line in bench.lines if "cannot be started" in line.text)
            waiting = served.begin(gate.path)
            await until(lambda: served.running() == 2)
            gate.release(2)

            for text in (failed.message, problem, told.text):
                assert re.search(reason, text), text
            assert (failed.code, told.function, told.level) == ("WaitExpired", spec.name, "error")
            assert len({answer(await first), answer(await waiting)}) == 2
            assert bench.tree.problem_of(spec) == ""


async def test_that_no_process_may_be_forked_is_told(bench: Bench) -> None:
    spec = bench.spec("no_fork")
    await bench.tree.load(spec)
    async with serving(bench.tree, spec, max_wait_s=0.5) as served:
        failed = await served.failure()

    reason = f"no instance of {spec.name!r} could be forked: Resource temporarily unavailable"
    assert failed.message.endswith(reason)
    assert [line.text for line in bench.lines] == [f"[forklight] the function cannot be started: {reason}"]


async def test_wherever_a_start_runs_out_of_descriptors_nothing_else_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step: otherwise the reserve of descriptors prevents the failure."""
    monkeypatch.setattr("sandbox.launch.SPARE_DESCRIPTORS", -1_000_000)
    spec = bench.spec("plain")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(120)]  # a zygote's are copied to numbers above 100
    open_fds = len(os.listdir("/proc/self/fd"))
    refused, has_started = 0, False
    while not has_started:
        runtime = Runtime(name=f"r{refused}", python=bench.runtime.python)
        one = replace(spec, runtime=runtime, version=f"v{refused}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (_limit_that_leaves(refused), limits[1]))
        try:
            instance, _ = await bench.tree.start(one)
        except (StartFailed, LoadFailed):
            refused += 1
        else:
            has_started = True
            instance.leave()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        bench.tree.drop(one)
        await until(lambda: not bench.tree.zygotes() and len(os.listdir("/proc/self/fd")) == open_fds)

    for fd in held:
        os.close(fd)
    assert refused > 10
    assert await bench.answer(spec)


def _limit_that_leaves(count: int) -> int:
    """The RLIMIT_NOFILE that allows this many more descriptors; it bounds their numbers, not their count."""
    taken = set(map(int, os.listdir("/proc/self/fd")[:-1]))
    return next(itertools.islice((fd for fd in itertools.count() if fd not in taken), count, None))
