"""What a template is told of its limits, and how its end over them reads."""

import pytest

from sandbox import hardware
from sandbox.containment import Containment, Level
from sandbox.endings import Died
from sandbox.load_message import load_error, most_processes, too_much_memory
from sandbox.spec import MIB
from tests.unit.sandbox.test_group import spec

pytestmark = pytest.mark.any_user


@pytest.mark.parametrize(
    ("containment", "counted", "most"),
    [
        (Containment(max_processes=9), True, None),
        (Containment(max_processes=9), False, None),  # it would count every process of the user
        (Containment(max_processes=9, uid=200_000), False, 10),
        (Containment(max_processes=9, uid=200_000), True, None),
        (Containment(max_processes=9, level=Level.NAMESPACES), False, 12 if hardware.kernel() >= (5, 14) else None),
        (Containment(max_processes=9, level=Level.FILTERS), False, None),
    ],
)
def test_processes_are_counted_by_user_only_where_that_is_the_function(
    containment: Containment, counted: bool, most: int | None
) -> None:
    assert most_processes(containment, counted=counted) == most


@pytest.mark.parametrize(
    ("reason", "died", "told"),
    [
        (too_much_memory(9 << 10), Died(-9), "loading 'f' used more than template_memory, 8 MiB: 9 MiB at its peak"),
        ("it ended", Died(-9, "all had too much"), "that loaded 'f' ended; template_memory is 8 MiB: all had too much"),
        ("it ended", Died(-9), "the process that loaded 'f' ended: SIGKILL"),
        ("it ended", Died(None), "the process that loaded 'f' ended: it ended"),
    ],
)
def test_a_load_that_ends_over_its_memory_says_so(reason: str, died: Died, told: str) -> None:
    assert load_error(spec(template_memory_bytes=8 * MIB), reason, died, "", []).message.endswith(told)
