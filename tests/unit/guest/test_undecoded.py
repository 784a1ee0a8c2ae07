"""A handler that fails because its data is not what it expects is told how to get that."""

import json
from typing import Any

import pytest

from bus.event import Event
from bus.outcome import ExceptionName, Failed
from forklight.testing import batch, call, http, queue, run
from sandbox.guest._forklight.undecoded import hint_of
from triggers.http.codec import hint_of_form, to_answer

JSON = b'{"a": [1]}'
WANTS_JSON = 'write decode = "json" in [[functions.f.{trigger}]], or send it as application/json'


def use(event: dict[str, Any]) -> object:
    return event["data"]["a"]


def method(event: dict[str, Any]) -> object:
    return event["data"].get("a")


def validate(event: dict[str, Any]) -> None:
    raise ValueError(f"Input should be a valid dictionary, not {type(event['data']).__name__}")


def message(handler: Any, event: Any) -> str:
    return run(handler, event, function="f").failure.message


@pytest.mark.parametrize("handler", [use, method, validate])
def test_a_message_without_a_content_type(handler: Any) -> None:
    said = message(handler, queue("orders", data=JSON))
    assert said.endswith(
        ": the body came without a content type, so `data` is bytes, but it looks like JSON: "
        + WANTS_JSON.format(trigger="queue")
    )
    assert not said.startswith(":")


def test_a_request_with_another_content_type() -> None:
    said = message(use, http("POST", "/", data=JSON, headers={"Content-Type": "application/octet-stream"}))
    assert "was sent as application/octet-stream, so `data` is bytes, but it looks like JSON" in said
    assert said.endswith(WANTS_JSON.format(trigger="http"))
    said = message(use, http("POST", "/", text='["a"]'))
    assert "was sent as text/plain; charset=utf-8, so `data` is str, but it looks like JSON" in said


def test_json_as_a_form_is_told_whatever_the_exception() -> None:
    event = http("POST", "/", data=JSON, headers={"Content-Type": "application/x-www-form-urlencoded"})

    def refuse(event: dict[str, Any]) -> None:
        raise RuntimeError("no orders")

    assert message(use, event).startswith("'a': the body looks like JSON but was sent as a form")
    assert message(refuse, event).startswith("no orders: the body looks like JSON")


def test_dev_says_it_once() -> None:
    event = Event(id="1", source="/", type="t", datacontenttype="application/x-www-form-urlencoded", body=JSON)
    said = hint_of(KeyError("a"), "'a'", "f", {"datacontenttype": event.datacontenttype}, JSON)
    failed = Failed(kind="error", code=ExceptionName("KeyError"), message=f"'a'{said}")
    shown = json.loads(to_answer(failed, "1", dev=True, hint=hint_of_form(event)).body)
    assert (shown["detail"], shown["hint"]) == ("'a'", said.removeprefix(": "))


def test_what_the_trigger_decodes_is_as_wanted() -> None:
    assert hint_of(TypeError("bytes"), "bytes", "f", {"decode": "bytes", "queue": {}}, JSON) == ""
    assert hint_of(TypeError("bytes"), "bytes", "f", {"decode": None, "queue": {}}, JSON) != ""


def test_text_without_a_content_type() -> None:
    said = message(lambda event: event["data"] + "!", queue("orders", data="Grüße\n".encode()))
    assert said.endswith('looks like text: write decode = "text" in [[functions.f.queue]], or send it as text/plain')


def test_one_message_of_a_batch() -> None:
    event = batch([queue("orders", json={"a": 1}), queue("orders", data=JSON)])
    said = message(lambda event: [use(one) for one in event["data"]], event)
    assert said.endswith(WANTS_JSON.format(trigger="queue"))


def test_a_call_has_no_table_to_write_it_in() -> None:
    said = message(use, call(data=JSON))
    assert said.endswith("but it looks like JSON: send it as application/json")


@pytest.mark.parametrize(
    "event",
    [
        queue("orders", json=[1]),
        queue("orders", data=b"\xff\x00{}"),
        queue("orders", data=b""),
        queue("orders", text="a word"),
        http("POST", "/", form={"a": {}}),
    ],
)
def test_what_is_no_such_mistake(event: Any) -> None:
    assert "looks like" not in message(lambda event: event["data"].no_such_attribute, event)


def test_other_failures_of_a_handler_that_takes_bytes() -> None:
    def handler(event: dict[str, Any]) -> None:
        raise RuntimeError("the database is down")

    assert message(handler, queue("orders", data=JSON)) == "the database is down"
    rejected = run(lambda event, context: context.reject("not bytes"), queue("orders", data=JSON))
    assert rejected.failure.message == "not bytes"
