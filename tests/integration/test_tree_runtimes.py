"""Functions in other interpreters and environments, and with libraries that are slow to import."""

import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus import Ok
from sandbox.errors import LoadFailed
from sandbox.spec import Hooks, Runtime
from tests.kit.runtimes import bare_environment, environment_with, interpreters, readable_interpreter, site_packages
from tests.kit.support import Bench, answer, event, readable_folder, running_tree

NUMPY = ("numpy==2.2.6",)
FASTAPI = (
    "fastapi==0.115.12",
    "pydantic==2.11.4",
    "starlette==0.46.2",
    "typing-extensions==4.13.2",
    "anyio==4.9.0",
)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder for copies of interpreters and for environments, which other users can read."""
    with readable_folder() as found:
        yield found


@pytest.fixture(scope="session")
def shop_python(folder: Path) -> Path:
    """The interpreter of an environment that has the library `shopkit`."""
    python = bare_environment(folder / "shop")
    (site_packages(python) / "shopkit.py").write_text('NAME = "corner shop"\n')
    (site_packages(python) / "opener.py").write_text("FILE = open(__file__)\n")
    (site_packages(python) / "dicer.py").write_text("import random\nDICE = random.Random()\n")
    (site_packages(python) / "locker.py").write_text("import threading\nLOCK = threading.Lock()\nLOCK.acquire()\n")
    (site_packages(python) / "looper.py").write_text("import asyncio\nLOOP = asyncio.new_event_loop()\n")
    return python


@pytest.mark.parametrize("python", interpreters() or [os.path.realpath("/usr/bin/python3")])
async def test_functions_run_in(python: str, folder: Path) -> None:
    interpreter = readable_interpreter(python, folder)
    libraries = {"LD_LIBRARY_PATH": str(interpreter.parent.parent / "lib")}  # a copy is not where it was linked for
    async with running_tree(interpreter) as bench:
        bench.runtime = Runtime(name="other", python=interpreter, env=libraries)
        await _greet(bench)
        await _end_badly(bench)
        await _use_children(bench)


async def _greet(bench: Bench) -> None:
    for handler in ("handler", "asynchronous"):
        instance, _ = await bench.tree.start(bench.spec("plain", handler))
        assert [answer(await instance.invoke(event()))["calls"] for _ in range(2)] == [1, 2]
    hooks = Hooks(init="function:init", after_fork="function:after_fork", stop="function:stop")
    assert sorted(await bench.answer(bench.spec("hooks", hooks=hooks))) == ["after_fork", "handler", "import", "init"]
    assert (await bench.answer(bench.spec("names")))["test"] == "the own tests"


async def _end_badly(bench: Bench) -> None:
    for handler, place in (("sleeps", "in sleeps"), ("holds_gil", "in holds_gil"), ("swallows", "in swallows")):
        failed = await bench.failure(bench.spec("slow", handler, timeout_s=0.2, grace_s=0.2))
        assert failed.kind == "timeout"
        assert place in failed.traceback
    assert "in inner" in (await bench.failure(bench.spec("crashing", "segfaults"))).traceback
    assert (await bench.failure(bench.spec("crashing", "fails_with_memory"))).code == "MemoryExceeded"
    with pytest.raises(LoadFailed) as failed_load:
        await bench.tree.start(bench.spec("broken", "long_story:handler"))
    assert failed_load.value.code == "InitFailed"


async def _use_children(bench: Bench) -> None:
    for handler in ("by_fork", "by_spawn", "by_executor"):
        assert await bench.answer(bench.spec("children", handler)) == [0, 2, 4, 6, 8]
    found = await bench.answer(bench.spec("threads"))
    assert found["parent"] == bench.tree.zygotes()[0].pid


async def test_an_environment_brings_its_libraries(shop_python: Path) -> None:
    async with running_tree(shop_python) as bench:
        found = await bench.answer(bench.spec("library"))

    assert (found["shop"], found["prefix"]) == ("corner shop", str(shop_python.parent.parent))


async def test_two_runtimes_are_two_zygotes(bench: Bench, shop_python: Path) -> None:
    shop = Runtime(name="shop", python=shop_python, prefix=shop_python.parent.parent, preload=("shopkit",))
    with pytest.raises(LoadFailed) as failed:
        await bench.tree.start(bench.spec("library"))
    found = await bench.answer(bench.spec("library", runtime=shop))

    assert failed.value.code == "ImportModuleError"
    assert "pip install shopkit" in failed.value.message
    assert found["shop"] == "corner shop"
    assert len(bench.tree.zygotes()) == 2


async def test_a_runtime_has_the_environment_of_its_zygote(bench: Bench, shop_python: Path) -> None:
    shop = Runtime(name="shop", python=shop_python, env={"TZ": "Asia/Tokyo"})
    await bench.answer(bench.spec("library", runtime=shop))

    (zygote,) = bench.tree.zygotes()
    assert zygote.runtime == shop
    found = await bench.answer(bench.spec("environment", runtime=shop))
    assert found["at_import"]["TZ"] == "Asia/Tokyo"


async def test_an_interpreter_that_reports_another_prefix_is_refused(bench: Bench, shop_python: Path) -> None:
    wrong = Runtime(name="shop", python=shop_python, prefix=Path("/opt/elsewhere"))
    with pytest.raises(LoadFailed) as failed:
        await bench.tree.start(bench.spec("library", runtime=wrong))

    assert failed.value.code == "InitFailed"
    assert f"it runs with prefix {shop_python.parent.parent}, not /opt/elsewhere" in failed.value.message


async def test_what_cannot_be_preloaded_is_said(bench: Bench) -> None:
    runtime = Runtime(name="odd", python=bench.runtime.python, preload=("json", "no_such_library"))
    with pytest.raises(LoadFailed) as failed:
        await bench.tree.start(bench.spec("plain", runtime=runtime))

    assert failed.value.code == "ImportModuleError"
    assert "no_such_library" in failed.value.message


async def test_what_is_preloaded_keeps_its_files(bench: Bench, shop_python: Path) -> None:
    runtime = Runtime(name="shop", python=shop_python, preload=("opener",))
    first, second = [await bench.answer(bench.spec("library", "with_file:handler", runtime=runtime)) for _ in range(2)]

    assert first == second == "FILE = open(__file__)\n"


async def test_a_generator_of_a_preloaded_library_is_another_everywhere(bench: Bench, shop_python: Path) -> None:
    runtime = Runtime(name="shop", python=shop_python, preload=("dicer",))
    forked = bench.spec("library", "with_dice:handler", runtime=runtime)
    loaded = bench.spec("library", "with_dice:handler", runtime=runtime, env={"THREAD": "1"})
    numbers = [await bench.answer(spec) for spec in (forked, forked, loaded, loaded)]

    assert len(set(numbers)) == 4


async def test_a_lock_that_a_preloaded_library_holds_is_told(bench: Bench, shop_python: Path) -> None:
    runtime = Runtime(name="shop", python=shop_python, preload=("locker",))
    await bench.answer(bench.spec("plain", runtime=runtime))

    (told,) = [text for text in bench.texts() if "held" in text]
    assert "a held threading.Lock (locker.LOCK, made at locker.py:2)" in told


async def test_a_preload_that_cannot_be_forked_is_refused(bench: Bench, shop_python: Path) -> None:
    runtime = Runtime(name="shop", python=shop_python, preload=("looper",))
    with pytest.raises(LoadFailed, match=r"preloading looper left an event loop \(looper.LOOP, made at looper.py:2\)"):
        await bench.tree.start(bench.spec("plain", runtime=runtime))


@pytest.mark.parametrize("python", ["/nowhere/python", "/etc/passwd", "/bin/true"])
async def test_what_is_no_interpreter_is_said(bench: Bench, python: str) -> None:
    with pytest.raises(LoadFailed) as failed:
        await bench.tree.start(bench.spec("plain", runtime=Runtime(name="odd", python=Path(python))))

    assert failed.value.code == "InitFailed"
    assert (await bench.answer(bench.spec("plain")))["calls"] == 1


async def test_numpy_is_imported_once_and_forked() -> None:
    """Only as root: the library takes long to install, and behaves the same for every user."""
    async with running_tree(environment_with(*NUMPY)) as bench:
        numbers: dict[str, set[object]] = defaultdict(set)
        for expected in ("boot", "fork", "fork"):
            found = await _forked_with_its_library(bench, "with_numpy", expected)
            assert found.pop("sum") == 45
            del found["imported_by"]
            for kind, number in found.items():
                numbers[kind].add(number)
        (template,) = bench.tree.templates()

    seeded = {"chosen", "old_chosen"}
    assert {kind: len(seen) for kind, seen in numbers.items()} == {kind: 1 if kind in seeded else 3 for kind in numbers}
    told = template.loaded.generators
    assert told[0] == "the generator behind numpy.random: reseeded in each instance"
    place = "(in with_numpy.GENERATORS, made at with_numpy.py:7)"
    assert sum(text == f"a numpy.random.PCG64 {place}: reseeded in each instance" for text in told) == 2
    assert sum(f"{place}: seeded by the code" in text for text in told) == 2
    assert len(told) == 10


async def test_fastapi_is_imported_once_and_forked() -> None:
    """Only as root, for the same reason."""
    async with running_tree(environment_with(*FASTAPI)) as bench:
        for expected in ("boot", "fork", "fork"):
            found = await _forked_with_its_library(bench, "with_fastapi", expected)
            assert (found["routes"], found["order"]) == (["/orders"], {"number": 7})


async def _forked_with_its_library(bench: Bench, module: str, expected_kind: str) -> dict[str, object]:
    instance, kind = await bench.tree.start(bench.spec("library", f"{module}:handler"))
    outcome = await instance.invoke(event(b'{"number": 7}'), start=kind)
    found: dict[str, object] = answer(outcome)

    assert isinstance(outcome, Ok)
    assert outcome.start == expected_kind
    (template,) = bench.tree.templates()
    assert found["imported_by"] == template.pid
    assert template.loaded.threads == 1
    assert bench.texts().count("imported") == 1
    os.kill(instance.pid, signal.SIGKILL)
    return found
