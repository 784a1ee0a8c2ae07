"""What is said of an invocation: its parts, the decision behind each, and what would help."""

import re
from typing import Any

import pytest
from msgspec.structs import replace

from bus.outcome import Waits
from dispatcher.reasons import Reason
from forklight.commands.explaining import tell
from forklight.observe.entry import Entry
from forklight.observe.explanation import Explanation, Limits, before, slowest
from sandbox.causes import Cause

AT_S = 1_795_460_760.0
WARM = Entry(
    time=AT_S,
    function="greet",
    invocation="aa-00000007",
    instance="greet-3",
    outcome="ok",
    trigger="http",
    status=200,
    start="warm",
    queue_ms=0.01,
    start_ms=0.09,
    run_ms=20.0,
    cpu_ms=19.0,
)
LIMITS = Limits(
    timeout_s=60, keep_alive_s=60, max_wait_s=60, max_waiting=80, max_instances=8, reserved=0, rest="template"
)
FOUND = Reason(busy=2, starting=0, leaving=0, waiting=0, max_instances=8, begun=1)


def told(reason: Reason | None = None, earlier: Entry | None = None, rest: str = "template", **fields: object) -> str:
    entry = replace(WARM, **fields)
    explanation = Explanation(entry=entry, limits=replace(LIMITS, rest=rest), reason=reason, before=earlier, lines=2)
    return "\n".join(tell(explanation))


def test_all_of_one() -> None:
    lines = told(earlier=replace(WARM, time=AT_S - 3.52)).splitlines()
    assert re.fullmatch(
        r"greet aa-00000007: ok 200, over http, at \d{4}-\d\d-\d\d \d\d:\d\d:59\.979, 20\.1 ms, of which run 100%",
        lines[0],
    )
    assert lines[1:] == [
        "  queue   0.0 ms  greet-3, idle for 3.5 s, took it at once",
        "  start   0.1 ms  an instance was ready, so it was handed over",
        "  run    20.0 ms  19.0 ms of it on the processor: it computed; the limit is 60 s",
        "  wrote 2 lines: forklight logs --id 00000007",
    ]


@pytest.mark.parametrize(
    ("reason", "fields", "said"),
    [
        (None, {}, "greet-3 was idle and took it at once"),
        (None, {"spare": True}, "greet-3 was spare and took it at once"),
        (None, {"spare": True}, "started ahead and had run nothing (a spare) was ready, so it was handed over"),
        (None, {"queue_ms": 0.7}, "none was idle, but one came free"),
        (FOUND, {"start": "fork"}, "2 of at most 8 instances ran other events, none was idle; so one more was started"),
        (replace(FOUND, busy=0), {"start": "fork"}, "there was no instance; so one more was started for it"),
        (
            replace(FOUND, begun=0, starting=1),
            {"start": "fork"},
            "1 more was being started; it took the first",
        ),
        (replace(FOUND, starting=2), {"start": "fork"}, "2 more were being started; so one more was started for it"),
        (FOUND, {}, "one more was started for it, but another came free first"),
        (replace(FOUND, busy=8, waiting=3, begun=0), {}, "3 waited before it; no more may run, so it waited, and one"),
        (FOUND, {"start": "fork"}, "fork: the template was loaded, so a process was forked from it"),
        (replace(FOUND, cause=Cause("new")), {"start": "load"}, "imported first (nothing had needed it before, or it"),
        (
            replace(FOUND, cause=Cause("ended", "it died")),
            {"start": "boot"},
            "first (the one before it ended: it died)",
        ),
        (
            replace(FOUND, cause=Cause("unneeded")),
            {"start": "boot"},
            "(no function of its runtime had needed it any more)",
        ),
        (
            replace(FOUND, cause=Cause("unforkable", "{x}")),
            {"start": "load"},
            "({x} cannot be forked, so each instance is",
        ),
        (
            replace(FOUND, cause=Cause("rested", "5")),
            {"start": "load"},
            '(rest = "none" had ended it after 5 s without an',
        ),
        (replace(FOUND, cause=Cause("start_failed", "no")), {"start": "fork"}, "(a start before that failed: no)"),
        (
            replace(FOUND, cause=Cause("no_room", "full")),
            {"start": "fork"},
            "(it waited for room on the machine: full)",
        ),
        (
            replace(FOUND, cause=Cause("other_version")),
            {"start": "fork"},
            "other versions of the function had the instances that it may have (max_instances); it waited for that",
        ),
        (
            replace(FOUND, cause=Cause("other_key")),
            {"outcome": "throttled/WaitExpired", "start": ""},
            "another version of the function had events of its key; that took too long",
        ),
        (None, {"waits": Waits(memory_ms=0.9)}, "wrote 2 lines"),
        (
            None,
            {"waits": Waits(throttled_ms=1201.25, disk_ms=9.0, processor_ms=0.4)},
            "meanwhile its function waited 1,201.2 ms for its share of the processors (cpu), 9.0 ms for the disk",
        ),
        (None, {"waits": Waits(throttled_ms=4.1)}, "to change that: a larger share of the processors: cpu"),
        (None, {"cpu_ms": 1.0}, "1.0 ms of it on the processor: it mostly waited"),
        (None, {"cpu_ms": 10.0}, "10.0 ms of it on the processor: the rest it waited"),
        (None, {"run_ms": 2.0, "cpu_ms": 0.1}, "0.1 ms of it on the processor; the limit"),
        (None, {"decision": "retry in 2.1 s", "text": "'x'"}, "  then: retry in 2.1 s\n  said: 'x'\n"),
    ],
)
def test_what_was_behind_each_part(reason: Reason | None, fields: dict[str, Any], said: str) -> None:
    assert said in told(reason, **fields)


MANY = replace(FOUND, calls=1000, max_instances=4, slots=500)


@pytest.mark.parametrize(
    ("reason", "fields", "said"),
    [
        (None, {}, "greet-3 had a free slot and took it at once"),
        (None, {"queue_ms": 0.7}, "no slot was free, but one came free"),
        (
            MANY,
            {"start": "fork"},
            "were taken, by 1000 events; 4 instances with 500 slots each may run; so one more was started for it",
        ),
        (replace(MANY, busy=1), {}, "all slots of the one instance were taken, by"),
        (replace(MANY, busy=0), {"start": "fork"}, "there was no instance; so one more was started for it"),
        (
            MANY,
            {"queue_ms": 30.0},
            "to change that: max_instances (8) and concurrency (500)",
        ),
        (
            MANY,
            {"outcome": "throttled/WaitExpired"},
            "more at a time: max_instances (8) and concurrency (500)",
        ),
    ],
)
def test_what_was_behind_each_part_with_several_slots(reason: Reason | None, fields: dict[str, Any], said: str) -> None:
    entry, limits = replace(WARM, **fields), replace(LIMITS, concurrency=500)
    assert said in "\n".join(tell(Explanation(entry=entry, limits=limits, reason=reason)))


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("throttled/QueueFull", "so it was refused\n"),
        ("throttled/WaitExpired", "none came free in time\n"),
    ],
)
def test_one_that_reached_no_instance(outcome: str, said: str) -> None:
    text = told(replace(FOUND, begun=0), outcome=outcome, start="", instance="", queue_ms=0, start_ms=0, run_ms=0)
    assert said in text
    assert "run" not in text.splitlines()[1].partition("ms")[0]
    assert " start " not in text


@pytest.mark.parametrize(
    ("outcome", "waiting", "said"),
    [
        ("ok", 0, "the instance of its key ran another event; it waited for that\n"),
        ("ok", 3, "the instance of its key ran another event, 3 waited before it, of any key; it waited for that\n"),
        ("throttled/WaitExpired", 0, "the instance of its key ran another event; that took too long\n"),
        ("throttled/QueueFull", 0, "the instance of its key ran another event; so it was refused\n"),
    ],
)
def test_one_that_waited_for_the_instance_of_its_key(outcome: str, waiting: int, said: str) -> None:
    reason = replace(FOUND, begun=0, waiting=waiting, cause=Cause("key", "key:path.id"))
    text = told(reason, outcome=outcome, queue_ms=100)
    assert said in text
    assert "events of the same key run one at a time: reuse" in text.splitlines()[-1]
    assert "max_instances" not in text


def test_one_that_waited_for_room_on_the_machine_is_told_of_its_limit() -> None:
    reason = replace(FOUND, cause=Cause("no_room", "[machine] memory allows 64 MiB, which are taken"))
    text = told(reason, outcome="throttled/WaitExpired", start="", instance="", queue_ms=1000, start_ms=0, run_ms=0)
    assert "in time (it waited for room on the machine: [machine] memory allows 64 MiB, which are taken)" in text
    assert "to change that: more patience: max_wait (60 s); more room: [machine] memory" in text


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({}, ""),
        (
            {"outcome": "throttled/QueueFull"},
            "a longer line: max_waiting (80) and max_waiting_memory; more at a time: max_instances (8)",
        ),
        ({"outcome": "throttled/WaitExpired"}, "more patience: max_wait (60 s); more at a time: max_instances (8)"),
        ({"outcome": "timeout/Timeout"}, "more time: timeout (60 s)"),
        ({"outcome": "crash/MemoryExceeded"}, "more memory: memory"),
        ({"start": "fork", "start_ms": 30.0}, "reserved (0) keeps instances ready; keep_alive (60 s) keeps them"),
        ({"start": "load", "start_ms": 30.0, "rest": "none"}, 'rest = "template" keeps the code loaded'),
        ({"queue_ms": 30.0}, "max_instances (8)"),
    ],
)
def test_what_would_help(fields: dict[str, Any], advice: str) -> None:
    text = told(**fields)
    assert ("to change that: " in text) == bool(advice)
    assert advice in text


def test_where_a_message_and_a_timer_come_from() -> None:
    sent = told(trigger="queue", queue="orders@shop", attempt=2, sent_at="2026-11-23T19:05:55Z")
    assert "  a message of orders@shop, attempt 2, 5.0 s after it was sent\n" in sent
    batch = told(trigger="queue", queue="orders", attempt=1, messages=7)
    assert "  7 messages of orders, attempt 1\n" in batch
    timer = told(trigger="timer", timer="nightly", scheduled_at="2026-11-23T20:05:59.900+01:00")
    assert "  timer nightly, scheduled at 2026-11-23T20:05:59.900+01:00, begun 80 ms after that\n" in timer


def test_of_a_function_that_is_gone() -> None:
    assert "limit" not in "\n".join(tell(Explanation(entry=WARM)))


def test_the_slowest_and_the_one_before() -> None:
    slow = replace(WARM, invocation="slow", run_ms=900.0, time=AT_S + 1)
    line = Entry(time=AT_S + 2, function="greet", text="x", instance="greet-3")
    entries = [replace(WARM, invocation="first"), slow, line, replace(WARM, time=AT_S + 3)]
    assert slowest(entries) == "slow"
    assert slowest([line]) is None
    assert before(entries[3], entries) == slow
    assert before(entries[0], entries) is None
