"""What a function can see (environment, modules, limits), and what other processes cannot see of it."""

import asyncio
import contextlib
import ctypes
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.errors import LoadFailed
from sandbox.launch import forbid_inspection
from sandbox.spec import Limits
from tests.kit.support import Bench, answer, event

pytestmark = pytest.mark.ordinary_user


async def test_the_environment_is_what_was_configured_and_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKED", "from the server")
    spec = bench.spec("environment", env={"BUCKET": "photos"}, secrets={"API_KEY": "s3cr3t"})
    found = await bench.answer(spec)

    for moment in ("at_import", "now"):
        assert found[moment] == {
            "PATH": f"{bench.runtime.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "HOME": found[moment]["TMPDIR"],
            "TMPDIR": found[moment]["HOME"],
            "FORKLIGHT_FUNCTION": spec.name,
            "FORKLIGHT_VERSION": spec.version,
            "BUCKET": "photos",
            "API_KEY": "s3cr3t",
        }
    assert found["at_import"]["HOME"] != found["now"]["HOME"]


async def test_the_time_zone_of_the_function_is_that_of_its_process(bench: Bench) -> None:
    env = {"TZ": "Asia/Tokyo", "LANG": "C", "LC_ALL": "C"}
    found = await bench.answer(bench.spec("environment", "effects", env=env))

    assert (found["hour"], found["tzname"], found["child"]) == (9, ["JST", "JST"], "09")
    assert (found["encoding"], bench.lines) == ("utf-8", [])
    assert (await bench.answer(bench.spec("environment", "effects")))["hour"] == 0


@pytest.mark.parametrize("name", ["LANG", "LC_CTYPE", "LC_ALL"])
async def test_a_locale_that_is_not_there_is_told(bench: Bench, name: str) -> None:
    found = await bench.answer(bench.spec("environment", "effects", env={name: "tlh_QO.UTF-8"}))

    assert found["encoding"] == "utf-8"
    assert bench.texts() == [
        f"[forklight] {name} = 'tlh_QO.UTF-8' has no effect: there is no such locale on this machine"
    ]


async def test_variables_of_python_that_can_act_later_do(bench: Bench) -> None:
    env = {"PYTHONPATH": "lib:/nowhere", "PYTHONWARNINGS": "error::UserWarning", "PYTHONDONTWRITEBYTECODE": "1"}
    found = await bench.answer(bench.spec("environment", "effects", env=env))

    assert found["lib"] == "from PYTHONPATH"
    assert found["warning"] == "raised"
    assert found["writes_bytecode"] is False


async def test_programs_of_the_runtime_are_on_the_path(bench: Bench) -> None:
    found = await bench.answer(bench.spec("environment", "effects"))

    assert found["python"] == str(bench.runtime.python.parent / "python3")


async def test_a_configured_home_is_kept(bench: Bench) -> None:
    found = await bench.answer(bench.spec("environment", env={"HOME": "/nowhere", "TMPDIR": "/tmp"}))

    assert (found["now"]["HOME"], found["now"]["TMPDIR"]) == ("/nowhere", "/tmp")


async def test_a_long_environment_arrives_whole(bench: Bench) -> None:
    env = {f"LONG_{n}": "\u00fc\u4e16\U0001f600" * 5000 for n in range(8)}
    found = await bench.answer(bench.spec("environment", env=env, limits=Limits(max_result_bytes=16 * 1024 * 1024)))

    assert {name: found["now"][name] for name in env} == env


async def test_secrets_are_in_nobody_elses_memory_or_environment(bench: Bench) -> None:
    mark = f"secret-{os.urandom(16).hex()}"
    secret, _ = await bench.tree.start(bench.spec("environment", secrets={"API_KEY": mark}))
    other, _ = await bench.tree.start(bench.spec("plain"))
    answer(await secret.invoke(event()))
    answer(await other.invoke(event()))

    (zygote,) = bench.tree.zygotes()
    mine, others = bench.tree.templates()
    for pid in (zygote.pid, mine.pid, others.pid, other.pid, secret.pid, os.getpid()):
        assert mark not in _environ(pid)
    if os.getuid() == 0:
        assert not any(_memory_has(pid, mark.encode()) for pid in (zygote.pid, others.pid, other.pid))
        assert _memory_has(secret.pid, mark.encode())


@pytest.mark.invariant("I18")
async def test_no_process_of_the_tree_can_be_looked_into(bench: Bench) -> None:
    """Not dumpable (prctl(2)): its files in /proc belong to root, not to the user that all functions share."""
    instance, _ = await bench.tree.start(bench.spec("plain"))
    (zygote,), (template,) = bench.tree.zygotes(), bench.tree.templates()

    for pid in (zygote.pid, template.pid, instance.pid):
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0


@pytest.fixture
def _as_a_server_has_it() -> Iterator[None]:
    """A server that forbids inspection and has many descriptors, which an exec takes a millisecond or more to close."""
    with contextlib.ExitStack() as descriptors:
        for _ in range(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2):
            descriptors.enter_context(open(os.devnull))
        forbid_inspection()
        yield
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as it was


@pytest.mark.usefixtures("_as_a_server_has_it")
async def test_the_kernel_kills_every_process_of_the_tree_before_the_server(bench: Bench) -> None:
    """When memory runs out. An instance cannot change that."""
    own = _oom_score("self")
    instance, _ = await bench.tree.start(bench.spec("limits", "oom_score"))
    refused = answer(await instance.invoke(event()))
    (zygote,), (template,) = bench.tree.zygotes(), bench.tree.templates()

    assert {_oom_score(str(one.pid)) for one in (zygote, template, instance)} == {max(0, own) + 500}
    assert _oom_score("self") == own
    assert refused == "Permission denied"


async def test_a_function_may_have_modules_of_any_name(bench: Bench) -> None:
    found = await bench.answer(bench.spec("names"))

    assert found["names"] == [f"the function's own {name}" for name in ("bus", "forklight", "sandbox", "triggers")]
    assert found["test"] == "the own tests"
    assert found["built in"] == [False, False], "as in every program: Python has them before it looks at a folder"
    assert found["main"] is None
    assert found["ours"] == ["_forklight"]
    assert str(bench.code / "names") in found["path"]
    assert not any("guest" in entry for entry in found["path"])


async def test_an_import_of_what_the_standard_library_hides_is_refused(bench: Bench) -> None:
    with pytest.raises(LoadFailed) as refused:
        await bench.tree.start(bench.spec("clashes"))

    assert refused.value.code == "BuiltInModuleConflict"
    assert refused.value.message.startswith("function.py:7 imports 'queue': the function's own module is hidden")


@pytest.mark.parametrize("module", ["json", "_forklight", "sys", "os.path"])
async def test_an_entry_module_whose_name_is_taken_is_refused(bench: Bench, module: str) -> None:
    with pytest.raises(LoadFailed) as refused:
        await bench.tree.start(bench.spec("names", f"{module}:handler"))

    assert refused.value.code == "BuiltInModuleConflict"
    assert module.partition(".")[0] in refused.value.message


async def test_open_files_are_limited(bench: Bench) -> None:
    found = await bench.answer(bench.spec("limits", "open_files", limits=Limits(open_files=64)))

    assert found["limit"] == [64, 64]
    assert 50 <= found["held"] < 64
    assert found["error"] == "Too many open files"


async def test_a_low_limit_of_open_files_is_not_shared_by_all_instances(bench: Bench) -> None:
    spec = bench.spec("plain", limits=Limits(open_files=24))
    for _ in range(30):
        instance, _ = await bench.tree.start(spec)
        assert answer(await instance.invoke(event()))["calls"] == 1


async def test_no_core_is_dumped(bench: Bench) -> None:
    assert await bench.answer(bench.spec("limits", "core")) == [1, 1]  # 0 would still hand it to a program (core(5))


async def test_the_code_is_read_only(bench: Bench) -> None:
    code = bench.code / "limits"
    code.chmod(0o555)
    found = await bench.answer(bench.spec("limits", "own_code"))
    code.chmod(0o755)

    assert found == "Permission denied"


async def test_a_default_timeout_of_sockets_leaves_ours_alone(bench: Bench) -> None:
    """The function sets a default timeout of 50 ms; its instance still waits for the next event without a limit."""
    instance, _ = await bench.tree.start(bench.spec("limits", "default_timeout"))
    dead = asyncio.Event()
    instance.on_dead = lambda _instance: dead.set()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(dead.wait(), 0.2)

    assert answer(await instance.invoke(event())) == 0.05


def _oom_score(pid: str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def _environ(pid: int) -> str:
    """Empty if the user of the tests cannot read it, as only root can then."""
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except PermissionError:
        return ""


def _memory_has(pid: int, mark: bytes) -> bool:
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw") or "[v" in line:
                continue
            start, end = (int(address, 16) for address in span.split("-"))
            try:
                memory.seek(start)
                if mark in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False


async def test_an_instance_wakes_without_preempting_the_dispatcher(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("plain"))
    (zygote,) = bench.tree.zygotes()

    assert os.sched_getscheduler(instance.pid) == os.sched_getscheduler(zygote.pid) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
