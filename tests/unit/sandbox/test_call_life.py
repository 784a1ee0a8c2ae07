"""The tables of the lives of calls and instances are complete, and a guest sends no more than a call has asked for."""

from types import ModuleType
from typing import Any, Literal

import pytest

from sandbox import call_life, instance_life
from sandbox.actions import Action, Cancel, End, HandOver, Kill
from sandbox.call_life import Streams
from sandbox.calls import Calls
from sandbox.endings import Answered
from sandbox.frames import Asked, CallFrame, ChunkFrame, CreditFrame, EndFrame, HeadFrame, OfCall, OkFrame

SENT: tuple[Literal["chunk", "end", "credit", "reply"], ...] = ("chunk", "end", "credit", "reply")
OPEN = set(call_life.State) - {call_life.State.ENDED}
LIVES = [(call_life, OPEN), (instance_life, set(instance_life.State))]


@pytest.mark.parametrize(("life", "states"), LIVES, ids=["call", "instance"])
def test_each_pair_has_a_place_in_the_table_or_is_a_breach_or_cannot_occur(life: ModuleType, states: set[str]) -> None:
    possible = [(state, what) for state, row in life.TABLE.items() for what in row]
    breaches = [(state, what) for what, (those, _) in life.BREACHES.items() for state in those]
    impossible = [(state, what) for what, (those, _) in life.IMPOSSIBLE.items() for state in those]
    covered = [*possible, *breaches, *impossible]
    assert len(covered) == len(set(covered))
    assert set(covered) == {(state, what) for state in states for what in life.Input}


@pytest.mark.parametrize(("life", "first"), [(call_life, "running"), (instance_life, "starting")])
def test_every_state_is_reached(life: ModuleType, first: str) -> None:
    reached = {first}
    while more := {step.next for state in reached for step in life.TABLE.get(state, {}).values()} - reached:
        reached |= more
    assert reached == set(life.State)


def begun(**asked: Any) -> Calls:
    calls = Calls(slots=2, grace_ns=10, asynchronous=True)
    calls.begin(1, 100, Asked(**asked))
    calls.begin(2, 100)
    return calls


def send(calls: Calls, *frames: OfCall, body: bytes = b"") -> list[Action]:
    """The actions of the last frame; all before it have to be legal."""
    *before, last = frames
    for frame in before:
        assert isinstance(calls.frame(frame, body, 50)[0], HandOver)
    return calls.frame(last, body, 50)


HEAD, CHUNK, END, CREDIT = HeadFrame(i=1), ChunkFrame(i=1), EndFrame(i=1), CreditFrame(i=1, bytes=5)


def inner(c: int) -> CallFrame:
    return CallFrame(i=1, c=c, function="other")


@pytest.mark.parametrize(
    ("asked", "frames", "how"),
    [
        ({}, [HEAD], "a `head`, but no response stream was asked for"),
        ({}, [CHUNK], "a `chunk` before a `head`"),
        ({}, [END], "an `end` before a `head`"),
        ({}, [CREDIT], "a `credit`, but the request's body was complete"),
        ({}, [inner(1)], "a `call` beside 0 others; 0 at once were asked for"),
        ({"credit": 3}, [HEAD, HEAD], "a second `head`"),
        ({"credit": 3}, [HEAD, OkFrame(i=1, length=0)], "an `ok` after a `head`; `end` ends a response that has begun"),
        ({"credit": 3}, [HEAD, CHUNK], "a `chunk` of 4 bytes with a credit of 3"),
        ({"credit": 5}, [HEAD, CHUNK, CHUNK], "a `chunk` of 4 bytes with a credit of 1"),
        ({"calls": 2}, [inner(2), inner(2)], "a `call` 2 after number 2"),
        ({"calls": 1}, [inner(1), inner(2)], "a `call` beside 1 others; 1 at once were asked for"),
    ],
)
def test_what_was_not_asked_for_is_a_breach_that_says_so(asked: dict[str, Any], frames: list[OfCall], how: str) -> None:
    calls = begun(**asked)
    assert send(calls, *frames, body=b"four") == [Kill(f"the instance sent {how}")]
    assert calls.open_calls == (1, 2)


def test_a_response_may_come_in_chunks_while_a_neighbour_answers_at_once() -> None:
    calls = begun(credit=8)
    send(calls, HEAD, CHUNK, body=b"four")
    assert isinstance(send(calls, OkFrame(i=2, length=0))[0], End)
    assert calls.may_send(1, "credit", 4)
    send(calls, CHUNK, CHUNK, body=b"four")
    assert send(calls, END) == [End(1, Answered(END, b""))]


def test_a_credit_that_crossed_the_end_of_the_request_is_no_breach() -> None:
    calls = begun(more=True)
    send(calls, CREDIT)
    assert [calls.may_send(1, "chunk", 3), calls.may_send(1, "chunk", 3), calls.may_send(1, "end")] == [
        True,
        False,
        True,
    ]
    assert send(calls, CREDIT) == [HandOver(CREDIT, b"")]
    assert not calls.may_send(1, "chunk", 3)


def test_a_reply_makes_room_for_another_call() -> None:
    calls = begun(calls=1)
    send(calls, inner(1))
    assert [calls.may_send(1, "reply", 1), calls.may_send(1, "reply", 1)] == [True, False]
    assert send(calls, inner(2)) == [HandOver(inner(2), b"")]


def test_after_its_deadline_a_call_gets_nothing_more_and_what_it_sends_is_ignored() -> None:
    calls = begun(more=True, credit=10, calls=1)
    send(calls, inner(1), CREDIT)
    assert calls.tick(100) == [Cancel((1, 2))]
    assert not any(calls.may_send(1, kind, 1) for kind in SENT)
    assert [calls.frame(frame, b"four", 101) for frame in (HEAD, CHUNK, CREDIT)] == [[], [], []]
    [end] = calls.frame(END, b"", 102)
    assert isinstance(end, End)
    assert not isinstance(end.ending, Answered)
    assert calls.open_calls == (2,)


def test_a_call_that_asked_for_nothing_has_an_account_that_never_changes() -> None:
    before = repr(call_life.NOTHING_LEFT)
    calls = begun()
    for kind in SENT:
        assert not calls.may_send(2, kind, 1)
    send(calls, CallFrame(i=2, c=1, function="other"))
    assert repr(call_life.NOTHING_LEFT) == before
    assert Streams.of(Asked(calls=1)).inner is not Streams.of(Asked(calls=1)).inner
