"""Hostile functions, one attack after the other at each level: every outcome is the one that the table names."""

import ast
import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from msgspec import structs

from bus import Ok, Outcome
from sandbox.containment import Level, Mechanism
from sandbox.instance import Instance
from sandbox.levels import Asked, CannotBeHad, resolve
from sandbox.spec import FunctionSpec, Limits
from tests.kit.levels import found as levels_found
from tests.kit.levels import levels
from tests.kit.support import FUNCTIONS, Bench, answer, event, processes_with
from tests.redteam.attacks import Attack, attacks
from tests.redteam.world import VARIABLE, Ground, World, ground, world

pytestmark = pytest.mark.ordinary_user

AS_ROOT = os.getuid() == 0
MIB = 1024 * 1024
MARK = f"redteam-{os.getpid()}"
"""On the command line of what daemons start."""
PROBES = ("files", "processes", "kernel", "network")
"""The themes whose attacks leave the process as it was, so that one runs all of them."""


WITHIN = {"signals_own_template", "signals_sibling", "traces_sibling", "reads_memory_of_sibling"}
OLDER: dict[str, Any] = {"without": frozenset({Mechanism.SIGNAL_SCOPE})}
GROUNDS: list[tuple[Level, dict[str, Any]]] = [
    *((level, {}) for level in levels()),
    *((level, OLDER) for level in levels() if level is not Level.LIMITS),
    *((level, {"own_users": True}) for level in levels() if AS_ROOT),
]


@pytest.mark.parametrize(("level", "settings"), GROUNDS, ids=str)
async def test_an_attack_ends_as_the_table_says(
    level: Level, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a handler, and in the code that a template runs when it imports the function."""
    monkeypatch.setenv(VARIABLE, "the server's own")
    async with ground(level, **settings) as here, world(here) as around:
        spec = here.bench.spec("redteam", containment=here.containment())
        hostile, sibling = [(await here.bench.tree.start(spec))[0] for _ in range(2)]
        around |= {"sibling": sibling.pid, "template": here.bench.tree.templates()[-1].pid}
        at_import = await _at_import(here.bench, spec, around)
        in_handler = {attack.name: await _in_handler(hostile, attack, around) for attack in _probes()}

    _require(in_handler, here)
    _require(at_import, here, at_import=True)


def _probes() -> list[Attack]:
    return [attack for theme in PROBES for attack in attacks(theme)]


async def _in_handler(hostile: Instance, attack: Attack, around: World) -> str:
    data = {"theme": attack.theme, "name": attack.name, "world": around}
    return _said(await hostile.invoke(event(json.dumps(data).encode())))


async def _at_import(bench: Bench, spec: FunctionSpec, around: World) -> dict[str, str]:
    """All but those on its own template and instances: while it is imported, there is neither."""
    names = {theme: [attack.name for attack in attacks(theme) if attack.name not in WITHIN] for theme in PROBES}
    todo = {"world": around, "attacks": names}
    importing = bench.spec("redteam", "at_import", env={"AT_IMPORT": json.dumps(todo)}, containment=spec.containment)
    found: dict[str, str] = await bench.answer(importing)
    return found


def _said(outcome: Outcome) -> str:
    """What the attack answered, or how its call failed."""
    if isinstance(outcome, Ok):
        return str(answer(outcome))
    return f"Signal:{outcome.message.split()[-1]}" if outcome.code == "Signal" else outcome.code


def _require(found: dict[str, str], here: Ground, *, at_import: bool = False) -> None:
    """Every attack had one of the outcomes that the table names."""
    wrong = []
    for attack in attacks():
        expected = attack.expected(here.level, here.has, at_import=at_import)
        if attack.name in found and found[attack.name] not in expected:
            wrong.append(f"{attack.name}: {found[attack.name]} instead of {'|'.join(sorted(expected))}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("level", levels())
async def test_a_function_without_a_network_reaches_nothing(level: Level) -> None:
    if level is Level.LIMITS:
        with pytest.raises(CannotBeHad, match="network"):
            resolve(Asked(level=level, network=False), levels_found())
        return
    async with ground(level) as here, world(here) as around:
        spec = here.bench.spec("redteam", containment=here.containment(network=False))
        hostile, _ = await here.bench.tree.start(spec)
        found = {}
        for attack in attacks("closed"):
            name = attack.name.partition(".")[2]
            found[attack.name] = await _in_handler(hostile, attack._replace(theme="network", name=name), around)

    _require(found, here)


@pytest.mark.parametrize("level", levels())
async def test_what_a_function_uses_up_is_its_own(level: Level) -> None:
    """All at once, and meanwhile a neighbour gets its memory, its processes and its answers."""
    async with ground(level) as here, unharmed(here):
        calls = {}
        for attack in attacks("exhaustion"):
            memory_mib = 512 if attack.name in ("processes", "threads") else 64
            limits = Limits(memory_bytes=memory_mib * MIB, open_files=64, max_file_bytes=8 * MIB)
            containment = here.containment(max_processes=64, scratch_bytes=32 * MIB)
            hungry = here.bench.spec("redteam", "exhaustion:handler", limits=limits, containment=containment)
            calls[attack.name] = (structs.replace(hungry, version=attack.name), attack.name)  # each has its own scratch
        found = await _all(here.bench, calls)

    _require(found, here)


@pytest.mark.parametrize("level", levels())
async def test_a_process_ends_as_the_table_says(level: Level) -> None:
    data = {"crashing.hard_exit": 4, "hostile.wrong": "garbage"}
    async with ground(level) as here, unharmed(here):
        calls = {}
        for attack in attacks("ends"):
            folder, _, handler = attack.name.partition(".")
            contained = here.containment()
            ends_late = "Timeout" in attack.expected(here.level, here.has)
            timeout_s = 0.4 if ends_late else 20.0  # what ends by itself may take its time on a busy machine
            spec = here.bench.spec(folder, handler, timeout_s=timeout_s, grace_s=0.1, containment=contained)
            calls[attack.name] = (spec, data.get(attack.name, MARK))
        found = await _all(here.bench, calls)

    _require(found, here)
    assert processes_with(MARK) == set()


async def _all(bench: Bench, calls: Mapping[str, tuple[FunctionSpec, object]]) -> dict[str, str]:
    """What came of the calls, a few at a time, each in an instance of its own."""
    turns = asyncio.Semaphore(6)

    async def one(spec: FunctionSpec, data: object) -> str:
        async with turns:
            return _said(await bench.call(spec, data))

    return dict(zip(calls, await asyncio.gather(*(one(*call) for call in calls.values())), strict=True))


@contextlib.asynccontextmanager
async def unharmed(here: Ground) -> AsyncIterator[None]:
    """A neighbour that lives through it and does all that it may."""
    spec = here.bench.spec("redteam", "neighbour:handler", containment=here.containment(2))
    neighbour, _ = await here.bench.tree.start(spec)
    before = answer(await neighbour.invoke(event()))
    yield
    after = answer(await neighbour.invoke(event()))
    assert after == before | {"calls": 2}


@pytest.mark.any_user
@pytest.mark.parametrize("theme", [*PROBES, "exhaustion"])
def test_every_hostile_function_is_in_the_table(theme: str) -> None:
    """An attack that nobody runs proves nothing."""
    module = ast.parse((FUNCTIONS / "redteam" / f"{theme}.py").read_text())
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    written = {one.name for one in functions if one.name[0] != "_" and ast.unparse(one.args) in ("", "world")}

    assert written == {attack.name for attack in attacks(theme)}
