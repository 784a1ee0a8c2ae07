"""How `ps` shows queues and timers."""

import re

import msgspec
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from dispatcher.machine_state import MachineState
from forklight.commands import ps as ps_command
from forklight.commands.rows import notes
from forklight.observe.status import Isolation, QueueStatus, Status, TimerStatus
from forklight.serving.strays import Stray

ORDERS = QueueStatus(
    queue="orders",
    function="f",
    dead_letter="forklight.dead.f",
    ready=3,
    running=1,
    delayed=2,
    dead=4,
    oldest_age_s=75.0,
)
SHOP = QueueStatus(queue="orders@shop", function="f", dead_letter="dead@shop", ready=7, running=0, dead=0)
AWAY = QueueStatus(queue="refunds@shop", function="f", dead_letter="dead@shop", problem="no answer within 2 s")
EMPTY = {"ready": 0, "running": 0, "delayed": 0}
INBOX = QueueStatus(queue="forklight.inbox.f", function="f", dead_letter="forklight.dead.f", dead=4, **EMPTY)  # type: ignore[arg-type]
LONELY = QueueStatus(queue="forklight.inbox.g", function="g", dead_letter="forklight.dead.g", dead=1, **EMPTY)  # type: ignore[arg-type]
STRAY = Stray(("", "forklight.dead.gone"), ready=2, delayed=0).status
NIGHTLY = TimerStatus(
    function="f",
    name="nightly",
    schedule="@daily",
    timezone="UTC",
    last="2026-11-23T00:00:00+00:00",
    outcome="error/KeyError",
    failed="2026-11-23T00:00:01+00:00",
    failures=2,
    error="error/KeyError: 'x'\x1b[2J",
    next=("2026-11-24T00:00:00+00:00",),
)
FULL = MachineState(
    memory_bytes=193 * 1024 * 512,
    memory_limit_bytes=2 * 1024**3,
    instances=6,
    max_instances=6,
    waiting=("a", "b", "c", "d", "e", "f"),
    lack="max_instances",
    pressure=1.25,
    evictions={"idle": 3, "busy": 9},
)
OVER = TimerStatus(function="f", name="once", schedule="at", timezone="UTC", running=True)


def test_what_became_of_the_runs_of_a_timer_is_told(shown: str) -> None:
    assert (
        "timer nightly of f: the latest 2 runs failed, at 2026-11-23T00:00:01+00:00: error/KeyError: 'x'\\x1b[2J; "
        "none has succeeded yet\n"
    ) in shown
    assert "timer once" not in shown
    late = replace(NIGHTLY, failures=1, succeeded="2026-11-22T00:00:00+00:00", skipped=3)
    status = Status(
        pid=7,
        uptime_s=1.0,
        draining=False,
        isolation=Isolation("limits", (), {}),
        zygotes_kb=0,
        functions=(),
        timers=(late,),
    )
    failed, skipped = notes(status)
    assert failed.startswith("timer nightly of f: the latest run failed, at ")
    assert failed.endswith("; the last success was at 2026-11-22T00:00:00+00:00")
    assert skipped == "timer nightly of f: 3 scheduled times were skipped since the start of the server"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> str:
    status = Status(
        pid=7,
        uptime_s=1.0,
        draining=False,
        isolation=Isolation("limits", (), {}),
        zygotes_kb=0,
        functions=(),
        machine=FULL,
        queues=(ORDERS, SHOP, AWAY, INBOX, LONELY, STRAY),
        timers=(NIGHTLY, OVER),
    )
    monkeypatch.setattr(ps_command, "get", lambda *_: msgspec.json.encode(status))
    result = CliRunner().invoke(ps_command.ps, [], standalone_mode=False)
    assert result.return_value == 0
    return result.stdout


@pytest.mark.parametrize(
    "row",
    [
        "QUEUE FUNCTION READY RUNNING DELAYED DEAD OLDEST",
        "orders f 3 1 2 4 1m15s",
        "orders@shop f 7 0 unknown 0 unknown",
        "refunds@shop f unknown unknown unknown unknown unknown",
        "forklight.inbox.g g 0 0 0 1 -",
        "forklight.dead.gone - 2 unknown 0 0 unknown",
        "forklight.dead.gone: no function here consumes it",
        "nightly f 2026-11-23T00:00:00+00:00 error/KeyError 2026-11-24T00:00:00+00:00",
        "once f - running never",
        "refunds@shop: no answer within 2 s",
        "waiting for room on the machine: a, b, c, d, e and 1 more (max_instances of [machine])",
        "machine: 96.5 MiB of 2,048 MiB, 6 of 6 instances, 12 ended for others, memory pressure 1.25%",
    ],
)
def test_a_row_tells_what_is_known(shown: str, row: str) -> None:
    assert row in [re.sub(" +", " ", line) for line in shown.splitlines()]


def test_an_inbox_with_nothing_of_its_own_has_no_row(shown: str) -> None:
    assert "forklight.inbox.f" not in shown


def test_columns_are_aligned(shown: str) -> None:
    rows = [
        found
        for line in shown.splitlines()
        if (found := re.match(r"(?:QUEUE|\S*orders|\S*refunds|forklight)\S*  +", line))
    ]
    assert len(rows) == 6
    assert len({row.end() for row in rows}) == 1
