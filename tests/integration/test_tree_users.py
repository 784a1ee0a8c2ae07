"""As root, a user for each function: what it is, what it cannot do to others, and that its processes still end."""

import asyncio
import os
import pwd

import pytest
from msgspec.structs import replace

from sandbox import processes
from sandbox.containment import Containment, Level
from sandbox.errors import StartFailed
from sandbox.spec import MIB, FunctionSpec, Limits, Runtime
from tests.kit.accounts import OWN_USERS
from tests.kit.levels import contained, levels
from tests.kit.runtimes import bare_environment, site_packages
from tests.kit.support import Bench, answer, copy_readable, event, failure, is_gone, running_tree, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can give each function a user")

OWN, OTHER = OWN_USERS.first + 1, OWN_USERS.first + 2
REFUSED = "Operation not permitted"


def spec_of(
    bench: Bench, handler: str, uid: int | None, level: Level = Level.LIMITS, **settings: object
) -> FunctionSpec:
    """A function with this user."""
    own = {"containment": replace(contained(level), uid=uid), "name": f"f{uid}"}
    return bench.spec("users", handler, **own | settings)


@pytest.mark.parametrize("level", levels())
async def test_a_function_runs_as_its_own_user_from_its_first_line_on(level: Level) -> None:
    nobody = pwd.getpwnam("nobody")
    async with running_tree(uids=OWN_USERS) as bench:
        for uid, gid in ((OWN, OWN), (OTHER, OTHER), (None, nobody.pw_gid)):
            own = nobody.pw_uid if uid is None else uid
            found = await bench.answer(spec_of(bench, "handler", uid, level))

            assert found["at_import"] == "\t".join([str(own)] * 4)
            assert (found["uids"], found["gids"], found["groups"]) == ([own] * 3, [gid] * 3, [nobody.pw_gid])
            assert found["capabilities"] == ["0" * 16] * 4
            assert found["folder"] == own
            assert found["same"] == ["done", "done"]
            assert (await bench.answer(spec_of(bench, "works", uid, level))) == ["thread", str(own), "1"]


async def test_it_cannot_become_another_one() -> None:
    async with running_tree(uids=OWN_USERS) as bench:
        for uid in (OTHER, OWN_USERS.first, 0, pwd.getpwnam("nobody").pw_uid):
            tried = await bench.answer(spec_of(bench, "change", OWN), uid)
            assert set(tried.values()) == {REFUSED}
        assert await bench.answer(spec_of(bench, "namespace", OWN)) == [REFUSED, "Function not implemented"]


async def test_it_can_neither_signal_nor_inspect_the_processes_of_another_or_the_zygote() -> None:
    async with running_tree(uids=OWN_USERS) as bench:
        victim, _ = await bench.tree.start(spec_of(bench, "handler", OTHER))
        answer(await victim.invoke(event()))
        (zygote,), (template,) = bench.tree.zygotes(), bench.tree.templates()
        pids = {"instance": victim.pid, "template": template.pid, "zygote": zygote.pid}
        for uid in (OWN, None):
            for found in (await bench.answer(spec_of(bench, "harm", uid), pids)).values():
                assert found[0] == REFUSED
                assert set(found[1:]) == {"Permission denied"}
        assert answer(await victim.invoke(event()))["pid"] == victim.pid


async def test_a_zygote_cannot_become_anybody_but_a_function() -> None:
    """What it preloads has CAP_SETUID, for which every user of the machine would do."""
    async with running_tree(uids=OWN_USERS) as bench:
        python = await asyncio.to_thread(bare_environment, bench.code.parent / "venv")
        copy_readable(bench.code / "users", site_packages(python) / "users")
        env = {"GREEDY_FOR": f"0,1,{OWN_USERS.first - 1},{OWN_USERS.last + 1}", "ITS_OWN": str(OWN)}
        bench.runtime = Runtime(name="greedy", python=python, preload=("users.greedy",), env=env)
        assert (await bench.answer(spec_of(bench, "handler", OWN)))["uids"] == [OWN] * 3


async def test_a_user_that_does_not_exist_here_is_an_error_of_the_start() -> None:
    async with running_tree(uids=OWN_USERS) as bench:
        with pytest.raises(StartFailed, match=f"as the user {OWN_USERS.last + 1}"):
            await bench.tree.start(spec_of(bench, "handler", OWN_USERS.last + 1))


async def test_what_a_function_leaves_behind_ends_whoever_it_belongs_to() -> None:
    """The zygote may not signal other users, and so it kills as them."""
    async with running_tree(uids=OWN_USERS) as bench:
        left = []
        for uid in (OWN, OTHER):
            instance, _ = await bench.tree.start(spec_of(bench, "daemon", uid))
            left.append(answer(await instance.invoke(event())))
        first, second = bench.tree.templates()
        first.kill("for the test")
        await first.gone.wait()
        for instance in tuple(first.instances.values()):
            instance.leave()
        await until(lambda: is_gone(left[0]))
        assert not is_gone(left[1])
        (zygote,) = bench.tree.zygotes()
        assert zygote.ended is None
        assert second.ended is None
    assert is_gone(left[1])


async def test_time_and_memory_are_still_limited() -> None:
    async with running_tree(uids=OWN_USERS) as bench:
        overdue = failure(await bench.call(spec_of(bench, "overdue", OWN, timeout_s=0.3)))
        assert overdue.code == "Timeout"
        assert "in overdue" in overdue.traceback
        limits = Limits(memory_bytes=64 * MIB)
        spec = bench.spec("memory", "unmapped_memfd", limits=limits, containment=Containment(uid=OWN))
        assert failure(await bench.call(spec, 200)).code == "MemoryExceeded"


async def test_the_kernel_kills_functions_first_whoever_they_are() -> None:
    own = int(processes.read_proc("/proc/self/oom_score_adj"))
    async with running_tree(uids=OWN_USERS) as bench:
        instance, _ = await bench.tree.start(spec_of(bench, "handler", OWN))
        assert int(processes.read_proc(f"/proc/{instance.pid}/oom_score_adj")) == min(1000, max(0, own) + 500)
