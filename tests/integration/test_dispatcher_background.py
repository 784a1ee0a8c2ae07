"""Templates that no event waits for are loaded two at a time."""

import pytest

from bus import Ok
from tests.kit.serving import closed_gate
from tests.kit.support import Bench, event, until

pytestmark = pytest.mark.any_user


async def test_two_templates_are_loaded_at_a_time_and_a_start_waits_for_none_of_them(bench: Bench) -> None:
    with closed_gate() as gate:
        specs = [bench.spec("pool_gated", name=f"f{n}", version=f"v{n}", env={"GATE": gate.path}) for n in range(4)]
        for spec in specs:
            bench.tree.keep(spec)
        await until(lambda: bench.texts().count("loading") == 2)
        assert len(bench.tree.templates()) == 2
        gate.release()
        await until(lambda: bench.texts().count("loading") == 3)
        assert len(bench.tree.templates()) == 3
        gate.release()
        instance, _ = await bench.tree.start(bench.spec("pool_work"))
        assert isinstance(await instance.invoke(event()), Ok)
        await until(lambda: bench.texts().count("loading") == 4)
        gate.release(2)
        await until(lambda: all(bench.tree.template_of(spec) for spec in specs))
