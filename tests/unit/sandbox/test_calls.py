"""The rules for the end of a call, one example each (ARCHITECTURE.md §7). Interleavings: `test_calls_machine.py`."""

import signal

import pytest
from msgspec.structs import replace

from sandbox.actions import Action, Cancel, End, Kill, Leave, Ready
from sandbox.calls import Calls
from sandbox.endings import Answered, Died, Verdict
from sandbox.frames import FailFrame, OkFrame, ReadyFrame, UnfitFrame

DEADLINE = 100
GRACE = 10
TOO_MUCH = Verdict("crash", "MemoryExceeded", "it used more than its 256 MiB of memory")


def serving(*open_calls: int, slots: int = 1, asynchronous: bool = False) -> Calls:
    """An instance with the given calls open, each with the same deadline."""
    calls = Calls(slots=slots, grace_ns=GRACE, asynchronous=asynchronous)
    for i in open_calls:
        calls.begin(i, DEADLINE)
    return calls


def ok(i: int) -> OkFrame:
    return OkFrame(i=i, length=0)


def fail(i: int, kind: str = "error", code: str = "ValueError") -> FailFrame:
    assert kind in ("error", "timeout")
    return FailFrame(i=i, kind=kind, code=code, message="no", traceback="line 1")  # type: ignore[arg-type]


def codes(actions: list[Action]) -> dict[int, str]:
    """Call id → code, for the calls that ended with a verdict."""
    return {end.i: end.ending.code for end in actions if isinstance(end, End) and isinstance(end.ending, Verdict)}


def test_a_reply_ends_its_call_and_frees_its_slot() -> None:
    calls = serving(1)
    assert calls.free_slots == 0
    assert calls.frame(ok(1), b"body", 50) == [End(1, Answered(ok(1), b"body"))]
    assert (calls.free_slots, calls.open_calls, calls.next_tick_ns) == (1, (), None)


def test_a_failure_is_an_answer_too_and_the_instance_lives_on() -> None:
    calls = serving(1)
    assert calls.frame(fail(1), b"", 50) == [End(1, Answered(fail(1), b""))]
    assert calls.free_slots == 1


def test_after_a_failure_that_is_its_last_word_the_instance_gets_no_call() -> None:
    calls, last = serving(1), replace(fail(1), last=True)
    assert calls.frame(last, b"", 50) == [End(1, Answered(last, b""))]
    assert (calls.free_slots, calls.state) == (0, "left")
    assert isinstance(calls.tick(50 + GRACE)[0], Kill), "it has the grace to end by itself"


def test_no_call_begins_before_the_hook_has_run() -> None:
    calls = Calls(slots=1, grace_ns=GRACE, asynchronous=False, starting=True)
    assert calls.free_slots == 0
    assert calls.frame(ReadyFrame(), b"", 50) == [Ready()]
    assert calls.free_slots == 1


def test_an_instance_whose_hook_failed_is_never_used() -> None:
    calls = Calls(slots=1, grace_ns=GRACE, asynchronous=False, starting=True)
    unfit = UnfitFrame(code="InitFailed", message="no database")
    assert calls.frame(unfit, b"", 50) == [Ready(unfit)]
    assert (calls.free_slots, calls.state) == (0, "left")
    assert isinstance(calls.tick(50 + GRACE)[0], Kill), "it has the grace to end by itself"


def test_a_reply_after_the_deadline_still_counts_while_nobody_has_noticed() -> None:
    calls = serving(1)
    assert calls.frame(ok(1), b"", DEADLINE + 1) == [End(1, Answered(ok(1), b""))]


def test_no_call_begins_without_a_free_slot() -> None:
    with pytest.raises(RuntimeError, match="call 2 cannot begin: serving, 1 of 1 slots taken"):
        serving(1, 2)


def test_no_call_begins_twice() -> None:
    with pytest.raises(RuntimeError, match="call 1 cannot begin"):
        serving(1, 1, slots=2)


def test_a_call_that_could_not_be_written_frees_its_slot_without_an_end() -> None:
    calls = serving(1)
    calls.abort(1)
    assert calls.free_slots == 1
    assert calls.died(Died(0)) == []


def test_at_the_deadline_the_guest_is_told_once() -> None:
    calls = serving(1)
    assert calls.next_tick_ns == DEADLINE
    assert calls.tick(DEADLINE - 1) == []
    assert calls.tick(DEADLINE) == [Cancel((1,))]
    assert calls.tick(DEADLINE + 1) == []
    assert calls.next_tick_ns == DEADLINE + GRACE


def test_silent_for_its_grace_it_is_killed_and_the_call_ends_at_its_death() -> None:
    calls = serving(1)
    calls.tick(DEADLINE)
    assert calls.tick(DEADLINE + GRACE) == [Kill("the handler did not finish by its deadline")]
    assert calls.open_calls == (1,)
    assert codes(calls.died(Died(-signal.SIGKILL))) == {1: "Timeout"}


def test_an_overdue_call_has_timed_out_however_its_process_then_ends() -> None:
    calls = serving(1)
    calls.tick(DEADLINE)
    assert codes(calls.died(Died(-signal.SIGTERM))) == {1: "Timeout"}


@pytest.mark.parametrize("frame", [ok(1), fail(1), fail(1, "timeout"), fail(1, code="MemoryError")])
def test_whatever_an_async_handler_answers_late_is_a_timeout_and_its_process_lives_on(frame: OkFrame) -> None:
    calls = serving(1, asynchronous=True)
    calls.tick(DEADLINE)
    actions = calls.frame(frame, b"", DEADLINE + 1)
    assert codes(actions) == {1: "Timeout"}
    assert len(actions) == 1
    assert calls.free_slots == 1


def test_whatever_a_sync_handler_answers_late_is_a_timeout_and_its_process_is_never_used_again() -> None:
    calls = serving(1)
    calls.tick(DEADLINE)
    end, kill = calls.frame(fail(1, "timeout"), b"", DEADLINE + 1)
    assert end == End(1, Verdict("timeout", "Timeout", "the handler did not finish by its deadline"), "line 1")
    assert isinstance(kill, Kill)
    assert calls.free_slots == 0


def test_a_guest_that_runs_out_of_memory_says_so_and_is_killed() -> None:
    calls = serving(1)
    end, kill = calls.frame(fail(1, code="MemoryError"), b"", 50)
    assert codes([end]) == {1: "MemoryExceeded"}
    assert isinstance(kill, Kill)


def test_a_timeout_before_the_deadline_is_a_breach() -> None:
    calls = serving(1)
    assert calls.frame(fail(1, "timeout"), b"", 50) == [Kill("the instance sent a timeout before the deadline")]
    assert codes(calls.died(Died(-signal.SIGKILL))) == {1: "Breach"}


def test_a_reply_to_a_call_that_is_not_open_is_a_breach() -> None:
    calls = serving(1)
    calls.frame(ok(1), b"", 50)
    assert calls.frame(ok(1), b"", 51) == [Kill("the instance sent `ok` for call 1, which is not open")]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (3, Verdict("crash", "Exit", "the handler ended its process with exit code 3")),
        (-signal.SIGSEGV, Verdict("crash", "Signal", "the instance was ended by SIGSEGV")),
        (-40, Verdict("crash", "Signal", "the instance was ended by signal 40")),
        (None, Verdict("crash", "Exit", "the instance is gone; how it ended is unknown")),
    ],
)
def test_a_death_ends_the_call_with_how_the_process_ended(code: int | None, verdict: Verdict) -> None:
    assert serving(1).died(Died(code)) == [End(1, verdict)]


def test_what_the_kernel_killed_for_memory_exceeded_it() -> None:
    verdict = Verdict("crash", "MemoryExceeded", "all together had too much")
    assert serving(1, 2, slots=2).died(Died(-signal.SIGKILL, verdict.message)) == [End(1, verdict), End(2, verdict)]


def test_a_handler_that_gets_no_memory_is_told_its_limit_and_its_peak() -> None:
    for memory_bytes, limit in ((64 << 20, "it may have 64 MiB (memory), "), (None, "")):
        calls = Calls(slots=1, grace_ns=GRACE, asynchronous=False, memory_bytes=memory_bytes)
        calls.begin(1, DEADLINE)
        frame = FailFrame(i=1, kind="error", code="MemoryError", message="m", peak_rss_kb=9 << 10)
        [end, _] = calls.frame(frame, b"", 50)
        verdict = Verdict(
            "crash", "MemoryExceeded", f"the handler ran out of memory: {limit}its process had 9 MiB at its peak"
        )
        assert end == End(1, verdict)


def test_what_it_died_of_before_our_kill_reached_it_is_the_truth() -> None:
    calls = serving(1)
    calls.kill(TOO_MUCH)
    assert codes(calls.died(Died(-signal.SIGABRT))) == {1: "Signal"}


def test_end_of_file_takes_no_more_calls_and_the_death_that_follows_tells_why() -> None:
    calls = serving(1)
    calls.end_of_file(50)
    assert (calls.free_slots, calls.next_tick_ns) == (0, 50 + GRACE)
    assert codes(calls.died(Died(-signal.SIGABRT))) == {1: "Signal"}


def test_end_of_file_without_a_death_is_killed_after_the_grace() -> None:
    calls = serving(1)
    calls.end_of_file(50)
    assert calls.tick(50 + GRACE) == [Kill("the instance closed its connection")]
    assert codes(calls.died(Died(-signal.SIGKILL))) == {1: "Exit"}


def test_nothing_counts_that_a_killed_instance_still_says() -> None:
    calls = serving(1)
    calls.breach("nonsense")
    assert calls.frame(ok(1), b"", 50) == []
    calls.end_of_file(50)
    assert calls.breach("more nonsense") == calls.tick(10**18) == calls.leave(50) == []
    assert calls.kill(TOO_MUCH) == []
    assert codes(calls.died(Died(-signal.SIGKILL))) == {1: "Breach"}
    assert calls.died(Died(-signal.SIGKILL)) == []


def test_killed_for_a_reason_of_no_call_every_call_ends_so() -> None:
    calls = serving(1, 2, slots=2, asynchronous=True)
    assert calls.kill(TOO_MUCH) == [Kill(TOO_MUCH.message)]
    assert calls.died(Died(-signal.SIGKILL)) == [End(1, TOO_MUCH), End(2, TOO_MUCH)]


def test_the_neighbours_of_an_overdue_call_are_innocent() -> None:
    calls = serving(1, slots=2, asynchronous=True)
    calls.begin(2, 10 * DEADLINE)
    calls.tick(DEADLINE)
    calls.tick(DEADLINE + GRACE)
    assert codes(calls.died(Died(-signal.SIGKILL))) == {1: "Timeout", 2: "InstanceKilled"}


def test_the_neighbours_of_a_late_answer_are_innocent() -> None:
    calls = serving(1, slots=2)
    calls.begin(2, 10 * DEADLINE)
    calls.tick(DEADLINE)
    assert codes(calls.frame(ok(1), b"", DEADLINE + 1)) == {1: "Timeout"}
    assert codes(calls.died(Died(-signal.SIGKILL))) == {2: "InstanceKilled"}


def test_the_neighbours_of_a_call_that_broke_the_protocol_are_innocent() -> None:
    calls = serving(1, 2, slots=2, asynchronous=True)
    calls.frame(fail(1, "timeout"), b"", 50)
    assert codes(calls.died(Died(None))) == {1: "Breach", 2: "InstanceKilled"}


def test_the_neighbours_of_a_call_that_ran_out_of_memory_are_innocent() -> None:
    calls = serving(1, 2, slots=2, asynchronous=True)
    assert codes(calls.frame(fail(1, code="MemoryError"), b"", 50)) == {1: "MemoryExceeded"}
    assert codes(calls.died(Died(-signal.SIGKILL))) == {2: "InstanceKilled"}


def test_idle_it_leaves_at_once_and_may_then_close_its_end() -> None:
    calls = serving()
    assert calls.leave(50) == [Leave()]
    assert calls.leave(51) == []
    assert calls.free_slots == 0
    calls.end_of_file(52)
    assert calls.died(Died(0)) == []


@pytest.mark.parametrize("asynchronous", [True, False])
def test_busy_it_leaves_after_its_last_call(asynchronous: bool) -> None:
    calls = serving(1, 2, slots=2, asynchronous=asynchronous)
    assert calls.leave(50) == []
    assert calls.frame(ok(2), b"", 60) == [End(2, Answered(ok(2), b""))]
    assert calls.frame(ok(1), b"", 70) == [End(1, Answered(ok(1), b"")), Leave()]


def test_an_async_instance_leaves_after_a_late_answer_too() -> None:
    calls = serving(1, asynchronous=True)
    calls.leave(50)
    calls.tick(DEADLINE)
    assert calls.frame(fail(1, "timeout"), b"", DEADLINE + 1)[1:] == [Leave()]


def test_one_that_closed_its_end_while_it_left_has_nothing_to_be_told() -> None:
    calls = serving(1)
    calls.leave(50)
    calls.end_of_file(60)
    assert calls.frame(ok(1), b"", 60) == [End(1, Answered(ok(1), b""))]
    assert calls.next_tick_ns == 60 + GRACE


def test_a_stop_hook_has_the_grace_and_no_more() -> None:
    calls = serving()
    calls.leave(50)
    assert calls.next_tick_ns == 50 + GRACE
    assert calls.tick(50 + GRACE - 1) == []
    assert calls.tick(50 + GRACE) == [Kill("the instance did not end in time")]
    assert calls.next_tick_ns is None


def test_ending_by_itself_before_our_signal_undoes_no_breach() -> None:
    calls = serving(1)
    calls.breach("nonsense", 1)
    assert codes(calls.died(Died(0))) == {1: "Breach"}
