"""A template and its instances are in a control group of their own, which goes with them."""

from pathlib import Path

import pytest
from msgspec import structs

from sandbox.containment import Level
from sandbox.spec import MIB, Limits
from tests.kit.groups import FOUND, can, group_of, told
from tests.kit.levels import contained, levels, why_not
from tests.kit.support import answer, event, running_tree, until

pytestmark = pytest.mark.ordinary_user


@pytest.mark.parametrize("level", [Level.LIMITS, Level.NAMESPACES])
async def test_a_function_is_bounded_as_a_whole_and_its_group_goes_with_it(level: Level) -> None:
    if level not in levels():
        assert why_not(level)
        return
    limits = Limits(memory_bytes=64 * MIB, template_memory_bytes=256 * MIB)
    async with running_tree(cgroups=FOUND) as bench:
        few = structs.replace(contained(level), max_processes=20, cpu=0.5)
        spec = bench.spec("plain", limits=limits, containment=few)
        one, _ = await bench.tree.start(spec)
        answer(await one.invoke(event(b'{"name": "x"}')))
        two, _ = await bench.tree.start(spec)
        template = await bench.tree.load(spec)
        if not can("memory", "pids", "cpu"):
            assert told("memory", "pids", "cpu")
            return

        pids = {template.pid, one.pid, two.pid}
        groups = {name: group_of(one.pid, name) for name in FOUND.places}
        for folder in groups.values():
            assert set(map(int, (folder / "cgroup.procs").read_text().split())) == pids
        assert group_of(bench.tree.zygotes()[0].pid, "pids") not in groups.values()
        assert (groups["pids"] / "pids.max").read_text().strip() == "21"
        assert _memory_limit(groups["memory"]) // MIB == template.group.memory_bytes // MIB
        files = 2 * spec.containment.scratch_bytes if level is Level.NAMESPACES else 0
        assert 2 * 64 * MIB < template.group.memory_bytes - files < (256 + 64) * MIB * 5 // 4 + 100 * MIB

        bench.tree.drop(spec)
        await until(lambda: not any(folder.exists() for folder in groups.values()))
    assert not any(folder.parent.exists() for folder in groups.values())


def _memory_limit(folder: Path) -> int:
    file = folder / "memory.max"
    return int((file if file.exists() else folder / "memory.limit_in_bytes").read_text())
