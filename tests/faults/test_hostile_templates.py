"""Hostile imports: a template that lies is killed, and no process that it names is touched."""

import contextlib
import json
import os

import pytest

from sandbox.containment import Level
from sandbox.errors import LoadFailed
from sandbox.spec import FunctionSpec
from sandbox.template import Template
from tests.kit.levels import contained, levels
from tests.kit.support import Bench, answer, event, is_gone, until

pytestmark = pytest.mark.ordinary_user


async def settled(bench: Bench, templates: list[Template]) -> None:
    for template in templates:
        await template.gone.wait()
        assert is_gone(template.pid)


LIES = (
    *("init", "dispatcher", "zygote", "itself", "victim", "nothing", "two", "eight", "no_pidfd"),
    *("garbage", "deep", "too_long", "huge_errno", "wrong_number", "closes", "unasked", "silent"),
)
IN_A_BOX = ("init", "itself", "two") if Level.NAMESPACES in levels() else ()
"""There, other processes have other numbers, or none: `init` is what keeps the box."""


@pytest.mark.parametrize(
    ("level", "modes"), [(Level.LIMITS, LIES), (Level.NAMESPACES, IN_A_BOX)], ids=["limits", "namespaces"]
)
async def test_a_lie_about_a_fork_kills_the_liar_alone(
    bench: Bench, level: Level, modes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not modes:
        return
    monkeypatch.setattr("sandbox.template.REQUEST_LIMIT_S", 0.5)
    victim, _ = await bench.tree.start(bench.spec("plain", containment=contained(level)))
    answer(await victim.invoke(event()))
    descriptors = len(os.listdir("/proc/self/fd"))
    bench_templates = bench.tree.templates()
    for calls, mode in enumerate(modes, start=2):
        lies = {"MODE": mode, "VICTIM": str(victim.pid)}
        spec = bench.spec("hostile", "template:handler", env=lies, containment=contained(level))
        with pytest.raises(LoadFailed) as failed:
            await bench.tree.start(spec)
        seen = [template for template in bench.tree.templates() if template not in bench_templates]
        await settled(bench, seen)

        assert failed.value.code == "CrashLoop", mode
        assert answer(await victim.invoke(event()))["calls"] == calls, mode
        await until(lambda: len(os.listdir("/proc/self/fd")) == descriptors)
        kept = 0 if level is Level.NAMESPACES else 2  # those of the victim and its template lie in their box, or not
        await until(lambda: _private_folders(bench) == kept)  # noqa: B023


def _private_folders(bench: Bench) -> int:
    """Outside of boxes. A function's own folder may be removed meanwhile."""
    found = 0
    for function in bench.folders.glob("[!.]*"):
        with contextlib.suppress(FileNotFoundError):
            found += len(os.listdir(function))
    return found


@pytest.mark.parametrize("mode", ["reports_the_living", "twice"])
async def test_a_lie_after_a_fork_kills_the_liar_too(bench: Bench, mode: str) -> None:
    victim, _ = await bench.tree.start(bench.spec("plain"))
    (honest,) = bench.tree.templates()
    spec = bench.spec("hostile", "template:handler", env={"MODE": mode})
    try:
        await bench.tree.start(spec)
    except LoadFailed as error:
        kind = error.code
    else:
        kind = "CrashLoop"

    assert kind == "CrashLoop"
    await until(lambda: bench.tree.templates() == [honest])
    assert answer(await victim.invoke(event()))["calls"] == 1


LOADS: tuple[object, ...] = (
    {"t": "loaded", "n": 0, "rss_kb": 10**15},
    {"t": "loaded", "n": 0, "rss_kb": -1, "threads": -5},
    {"t": "loaded", "n": 0, "threads": 1000},
    {"t": "failed", "n": 0, "code": 200, "message": "x" * 10_000},
    {"t": "nonsense", "n": 0},
    {"t": "exited", "ended": [[1, 0]]},
    {"t": "exited", "ended": []},
    {"t": "exited", "ended": [[1, "no"]]},
    {"t": "loaded", "n": 17},
    {"n": 0},
    {"t": "loaded", "n": 0, "ms": "soon"},
    [],
)


async def test_a_lie_about_the_load_is_the_liars_own_loss(bench: Bench) -> None:
    victim, _ = await bench.tree.start(bench.spec("plain"))
    (honest,) = bench.tree.templates()
    for calls, lie in enumerate(LOADS, start=1):
        spec = bench.spec("hostile", "liar:handler", env={"ANSWER": json.dumps(lie)})
        with pytest.raises(LoadFailed):
            await _start_thrice(bench, spec)

        await until(lambda: bench.tree.templates() == [honest])
        assert answer(await victim.invoke(event()))["calls"] == calls, lie


async def _start_thrice(bench: Bench, spec: FunctionSpec) -> None:
    """A lie that passes as a load ends the template at its second message, possibly after the first start."""
    for _ in range(3):
        await bench.tree.start(spec)
