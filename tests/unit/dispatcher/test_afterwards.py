"""What follows a switch: in order, one piece at a time, whatever becomes of the others."""

import anyio
import pytest

from dispatcher.afterwards import Afterwards
from tests.kit.support import until


async def test_each_piece_has_a_turn_of_its_own_and_one_that_fails_ends_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[object] = []
    turns: list[int] = []

    async def count_turns() -> None:
        while len(done) < 4:
            turns.append(len(done))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        afterwards = Afterwards(tasks)
        for piece in (lambda: done.append(1), lambda: done.append(1 / 0), lambda: done.append(2)):
            afterwards.add(piece)
        afterwards.add(lambda: afterwards.add(lambda: done.append(4)))
        afterwards.add(lambda: done.append(3))
        assert done == []
        tasks.start_soon(count_turns)
        await until(lambda: len(done) == 4)
        assert done == [1, 2, 3, 4]
        assert {0, 1, 2, 3} <= set(turns), "others had their turn between any two pieces"
        afterwards.add(lambda: done.append(5))
        await until(lambda: done[-1] == 5)
    assert [record.message for record in caplog.records] == ["what follows a switch failed"]
