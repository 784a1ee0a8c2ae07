"""Whatever ordinary functions do works the same at each level: processes, files, names, certificates, signals."""

import pytest

from sandbox.containment import Level
from tests.kit.levels import contained, levels
from tests.kit.support import running_tree

pytestmark = pytest.mark.ordinary_user

AS_EVERYWHERE = {
    "own_process": [True, True, True, True],
    "own_number": True,
    "own_threads": 1,
    "names_of_hosts": [True, True, True],
    "international_name": "xn--bcher-kva.example",
    "locales": ["C.UTF-8", "C.UTF-8", "c3bc"],
    "zones": ["2:00:00", True],
    "user": [True, True],
    "host": [True, True, "Linux", True],
    "kinds_of_files": "image/webp",
    "libraries": [True, True],
    "devices": ["0000", 4],
    "temporary_files": [5, ["link", "renamed"], True],
    "database": 42,
    "pipes": ["HELLO", "gone wrong\n", 3, "hi", "ho\n"],
    "programs": ["env", "sort"],
    "own_interpreter": "[1]\n",
    "processes": [[1], [1, 2, 3]],
    "queues": ["counted", 1, 0],
    "memory_shared": [7, 0],
    "threads": [0, 1, 2, 3],
    "signals": ["usr1", "alarm"],
    "tasks": ["hi\n", 4],
    "sockets_in_files": "x",
    "own_loopback": "hello",
    "interfaces": True,
}
AS_ON_THIS_MACHINE = {"hardware", "resolver", "certificates"}


@pytest.mark.parametrize("level", levels())
async def test_a_function_can_do_what_it_always_could(level: Level) -> None:
    async with running_tree() as bench:
        found = await bench.answer(bench.spec("everyday", containment=contained(level)))
        uncontained = found if level is Level.LIMITS else await bench.answer(bench.spec("everyday"))

    assert {name: found[name] for name in AS_EVERYWHERE} == AS_EVERYWHERE
    assert {name: found[name] for name in AS_ON_THIS_MACHINE} == {
        name: uncontained[name] for name in AS_ON_THIS_MACHINE
    }
    assert found.keys() == AS_EVERYWHERE.keys() | AS_ON_THIS_MACHINE
