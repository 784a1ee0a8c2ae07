from bus.event import CallSection, Event
from bus.message import event_message, output_message
from bus.outcome import Output

EVENT = Event(id="e1", source="/shop", type="shop.sold", function="orders", hops=2, traceparent="00-1-2-03")


def sent(**fields: object) -> Output:
    return Output(**({"kind": "send", "name": "q", "content_type": "text/plain", "body": b"x"} | fields))  # type: ignore[arg-type]


def test_an_event_becomes_a_message_with_its_attributes() -> None:
    message = event_message(
        Event(
            id="e1",
            source="/cli",
            type="forklight.call",
            time="2026-01-01T00:00:00Z",
            subject="s",
            datacontenttype="application/json",
            body=b"{}",
            function="f",
            call=CallSection(caller="cli"),
            traceparent="00-1-2-03",
        )
    )
    assert (message.id, message.body, message.content_type) == ("e1", b"{}", "application/json")
    assert message.headers == {
        "ce-specversion": "1.0",
        "ce-id": "e1",
        "ce-source": "/cli",
        "ce-type": "forklight.call",
        "ce-time": "2026-01-01T00:00:00Z",
        "ce-subject": "s",
        "traceparent": "00-1-2-03",
        "forklight-caller": "cli",
    }


def test_what_a_handler_sent_is_one_hop_further_in_the_same_trace() -> None:
    message = output_message(sent(), EVENT, 1)
    assert message.headers == {
        "ce-specversion": "1.0",
        "ce-id": "e1-1",
        "ce-source": "/forklight/orders",
        "ce-type": "forklight.queue",
        "traceparent": "00-1-2-03",
        "forklight-hops": 3,
    }
    assert (message.id, message.body, message.content_type) == ("e1-1", b"x", "text/plain")


def test_a_spawn_says_who_called() -> None:
    message = output_message(sent(kind="spawn", id="mine"), EVENT, 1)
    assert message.id == message.headers["ce-id"] == "mine"
    assert (message.headers["ce-type"], message.headers["forklight-caller"]) == ("forklight.call", "orders")


def test_the_id_of_an_output_is_the_same_in_every_attempt_and_no_other_outputs() -> None:
    ids = [[output_message(sent(), EVENT, number).id for number in (1, 2, 3)] for _attempt in (1, 2)]
    assert ids[0] == ids[1] == ["e1-1", "e1-2", "e1-3"]


def test_a_handlers_headers_can_set_anything_but_ours() -> None:
    own = {"x-a": "1", "ce-type": "shop.paid", "forklight-hops": "0", "Forklight-Attempt": "1", "traceparent": "mine"}
    headers = output_message(sent(headers=own), EVENT, 1).headers
    assert (headers["x-a"], headers["ce-type"], headers["forklight-hops"]) == ("1", "shop.paid", 3)
    assert headers["traceparent"] == "00-1-2-03", "the trace goes on"
    assert "Forklight-Attempt" not in headers
