from typing import Any

import pytest
from msgspec import structs

from bus.event import Event
from bus.hint import those
from bus.message import Outgoing
from bus.outcome import Ok, Output
from bus.outputs import Known, UnroutableError, outgoing
from bus.places import split_place

KNOWN = Known(functions={"report"}, brokers={"shop"}, queues={"a@b"})
EVENT = Event(id="e1", source="/test", type="test", function="orders")


def routed(*outputs: Output) -> tuple[Outgoing, ...]:
    return outgoing(Ok(outputs=outputs), EVENT, KNOWN)


def output(kind: str, name: str, delay_s: float = 0.0) -> Output:
    return Output(kind, name, "text/plain", b"x", delay_s)  # type: ignore[arg-type]


def test_each_output_goes_to_its_queue_in_its_store() -> None:
    found = routed(output("send", "bills"), output("send", "bills@shop", 3.0), output("spawn", "report", 2.0))
    assert [(one.queue, one.broker, one.delay_s, one.message.id) for one in found] == [
        ("bills", "", 0.0, "e1-1"),
        ("bills", "shop", 3.0, "e1-2"),
        ("forklight.inbox.report", "", 2.0, "e1-3"),
    ]


@pytest.mark.parametrize(
    ("name", "split"),
    [("q", ("q", "")), ("q@shop", ("q", "shop")), ("q@other", ("q@other", "")), ("a@b@shop", ("a@b", "shop"))],
)
def test_only_a_broker_that_exists_is_one(name: str, split: tuple[str, str]) -> None:
    assert split_place(name, {"shop"}) == split


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("spawn", "nobody", "there is no such function; the functions here are report"),
        ("publish", "news", "this version has no topics"),
        ("send", "q" * 256, "the queue's name has 256 bytes, the limit is 255"),
        ("send", "ä" * 128 + "@shop", "256 bytes"),
        ("send", "@shop", "has no name"),
        ("send", "\ud800", "not valid UTF-8"),
        ("send", "forklight.inbox.report", "names that begin with forklight. are ours"),
        ("send", "forklight.dead.report@shop", "names that begin with forklight. are ours"),
        ("send", "orders@shpo", "there is no broker 'shpo'; the brokers here are shop"),
        ("send", "orders@", "there is no broker ''"),
    ],
)
def test_what_can_go_nowhere_is_an_error_and_never_silence(kind: str, name: str, told: str) -> None:
    with pytest.raises(UnroutableError, match=told):
        routed(output("send", "bills"), output(kind, name))


def test_a_queue_whose_name_looks_like_one_of_a_broker_is_sent_to_if_somebody_consumes_it() -> None:
    assert [(one.queue, one.broker) for one in routed(output("send", "a@b"), output("send", "a@b@shop"))] == [
        ("a@b", ""),
        ("a@b", "shop"),
    ]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"id": "i" * 256}, "the id has 256 bytes"),
        ({"content_type": "t" * 256}, "the content type has 256 bytes"),
        ({"delay_s": 1e300}, "a delay of 1e[+]300 s, the limit is 30 days"),
        ({"headers": {"n" * 256: ""}}, "a header's name has 256 bytes"),
        ({"headers": {str(number): "x" * 1000 for number in range(66)}}, "headers of 66122 bytes, the limit is 65536"),
    ],
)
def test_no_store_is_asked_for_what_one_of_them_would_always_refuse(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(UnroutableError, match=told):
        routed(structs.replace(output("spawn", "report"), **fields))


def test_an_output_has_an_id_that_fits_however_long_its_events_is() -> None:
    events = [structs.replace(EVENT, id=name * 10_000) for name in ("a", "b")]
    ids = [outgoing(Ok(outputs=(output("send", "q"),)), event, Known())[0].message.id or "" for event in events * 2]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]
    assert len(ids[0]) <= 255


def test_of_many_names_that_there_are_some_are_told() -> None:
    assert those("functions", []) == "there are no functions here"
    assert those("functions", (f"f{n:04}" for n in range(1000))).endswith(", f0018, f0019 and 980 more")
