"""Events as AWS Lambda makes them, and as our own handlers get them."""

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.decoding import Undecodable
from sandbox.guest._forklight.lambda_events import payload

pytestmark = pytest.mark.any_user
BASE = {"id": "e1", "source": "/x", "type": "forklight.http", "time": "2026-11-27T10:00:00.123456Z"}
HTTP = {
    "method": "POST",
    "path": "/items/7/a/b",
    "route": "/items/{id:int}/{rest:path}",
    "params": {"id": 7, "rest": "a/b"},
    "query": {"q": "2", "r": "ü "},
    "query_all": {"q": ["1", "2"], "r": ["ü "]},
    "headers": {"host": "shop.example", "user-agent": "curl", "cookie": "a=1; b=2", "accept": "x, y"},
    "cookies": {"a": "1", "b": "2"},
    "host": "shop.example",
    "scheme": "https",
    "remote": "10.0.0.1",
}


def made(body: bytes = b"", form: str = "lambda", **fields: Any) -> Any:
    return json.loads(payload({**BASE, **fields}, body, form=form, function="shop", region="eu-west-1"))


def test_a_request_is_payload_format_2() -> None:
    event = made(b'{"n":1}', http=HTTP, datacontenttype="application/json")

    assert event == {
        "version": "2.0",
        "routeKey": "POST /items/{id}/{rest+}",
        "rawPath": "/items/7/a/b",
        "rawQueryString": "q=1&q=2&r=%C3%BC+",
        "cookies": ["a=1", "b=2"],
        "headers": {"host": "shop.example", "user-agent": "curl", "accept": "x, y"},
        "queryStringParameters": {"q": "1,2", "r": "ü "},
        "pathParameters": {"id": "7", "rest": "a/b"},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "shop",
            "domainName": "shop.example",
            "domainPrefix": "shop",
            "http": {
                "method": "POST",
                "path": "/items/7/a/b",
                "protocol": "HTTP/1.1",
                "sourceIp": "10.0.0.1",
                "userAgent": "curl",
            },
            "requestId": "e1",
            "routeKey": "POST /items/{id}/{rest+}",
            "stage": "$default",
            "time": "27/Nov/2026:10:00:00 +0000",
            "timeEpoch": 1795773600123,
        },
        "body": '{"n":1}',
        "isBase64Encoded": False,
    }


def test_a_request_without_body_query_and_cookies_has_no_such_keys_and_a_key_is_an_authorizer() -> None:
    event = made(http={"method": "GET", "path": "/", "route": "/", "key": "ci", "scopes": ["read"]})

    assert {"body", "cookies", "queryStringParameters", "pathParameters"}.isdisjoint(event)
    assert event["rawQueryString"] == ""
    assert event["requestContext"]["authorizer"] == {"lambda": {"key": "ci", "scopes": ["read"]}}


@pytest.mark.parametrize(
    ("body", "content_type", "headers", "is_text"),
    [
        (b"\x89PNG", "image/png", {}, False),
        (b"<a/>", "image/svg+xml", {}, True),
        ("ü".encode(), "text/plain; charset=utf-8", {}, True),
        ("ü".encode("latin-1"), "text/plain; charset=latin-1", {}, False),
        (b"\xff", "application/json", {}, False),
        (b"{}", "application/json", {"content-encoding": "gzip"}, False),
        (b"a=1", "application/x-www-form-urlencoded", {}, True),
        (b"text", None, {}, True),
    ],
)
def test_a_body_is_text_or_base64(body: bytes, content_type: "str | None", headers: Any, is_text: bool) -> None:
    http = {"method": "POST", "path": "/", "route": "/", "headers": headers}
    event = made(body, http=http, datacontenttype=content_type)

    assert event["isBase64Encoded"] is not is_text
    assert (event["body"].encode() if is_text else base64.b64decode(event["body"])) == body


def test_messages_are_records_of_sqs() -> None:
    queue = {
        "name": "orders",
        "attempt": 3,
        "headers": {"trace": "t1", "n": 2, "flag": True, "nested": {"a": 1}, "none": None},
        "correlation_id": "c1",
        "timestamp": "2026-11-27T09:59:59Z",
    }
    (record,) = made(b'{"n":1}', queue=queue)["Records"]

    assert record["messageId"] == record["receiptHandle"] == "e1"
    assert (record["body"], record["md5OfBody"]) == ('{"n":1}', hashlib.md5(b'{"n":1}').hexdigest())
    assert record["attributes"] == {
        "ApproximateReceiveCount": "3",
        "SentTimestamp": "1795773599000",
        "SenderId": "forklight",
        "ApproximateFirstReceiveTimestamp": "1795773599000",
    }
    kinds = {name: (value["dataType"], value["stringValue"]) for name, value in record["messageAttributes"].items()}
    assert kinds == {
        "trace": ("String", "t1"),
        "n": ("Number", "2"),
        "flag": ("String", "true"),
        "nested": ("String", '{"a":1}'),
        "correlation_id": ("String", "c1"),
    }
    assert (record["eventSource"], record["awsRegion"]) == ("aws:sqs", "eu-west-1")
    assert record["eventSourceARN"] == "arn:aws:sqs:eu-west-1:000000000000:orders"


def test_a_batch_has_a_record_for_each_message_and_bytes_say_that_they_are_base64() -> None:
    items = [
        {**BASE, "id": "m1", "queue": {"name": "orders"}, "length": 1},
        {**BASE, "id": "m2", "queue": {"name": "orders"}, "length": 2},
    ]
    first, second = made(b"a\xff\xfe", queue={"name": "orders"}, items=items)["Records"]

    assert (first["messageId"], first["body"]) == ("m1", "a")
    assert "isBase64Encoded" not in first
    assert (second["messageId"], base64.b64decode(second["body"])) == ("m2", b"\xff\xfe")
    assert second["isBase64Encoded"] is True


def test_a_timer_is_a_scheduled_event() -> None:
    timer = {"name": "nightly", "schedule": "0 0 * * *", "scheduled_at": "2026-11-27T01:00:00+01:00", "missed": 2}
    event = made(timer=timer)

    assert (event["source"], event["detail-type"], event["detail"]) == ("aws.events", "Scheduled Event", timer)
    assert event["time"] == "2026-11-27T00:00:00Z"
    assert event["resources"] == ["arn:aws:events:eu-west-1:000000000000:rule/nightly"]


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{"a": [1]}', "application/json", {"a": [1]}),
        (b"", None, {}),
        (b"7", "application/json", 7),
        (b"text", "text/plain", "text"),
        (b"\xff", "application/octet-stream", {"body": "/w==", "isBase64Encoded": True}),
    ],
)
def test_what_was_sent_to_the_function_is_the_payload(body: bytes, content_type: Any, expected: Any) -> None:
    assert made(body, call={"caller": "cli"}, datacontenttype=content_type) == expected


def test_what_cannot_be_decoded_is_told() -> None:
    with pytest.raises(Undecodable):
        made(b"{", call={"caller": "cli"}, datacontenttype="application/json")
    with pytest.raises(Undecodable, match="time"):
        made(http={"method": "GET", "path": "/", "route": "/"}, time="yesterday")


def test_our_own_form_is_the_event_of_a_handler() -> None:
    event = made(b'{"n":1}', form="forklight", http=HTTP, datacontenttype="application/json")

    assert event["http"] == HTTP
    assert (event["data"], base64.b64decode(event["body"]), event["id"]) == ({"n": 1}, b'{"n":1}', "e1")


@pytest.mark.invariant("I15")
@given(st.binary(max_size=50), st.sampled_from([None, "text/plain", "image/png", "application/json"]))
def test_every_body_comes_back(body: bytes, content_type: "str | None") -> None:
    event = made(body, http={"method": "POST", "path": "/", "route": "/"}, datacontenttype=content_type)
    text = event.get("body", "")

    assert (base64.b64decode(text) if event["isBase64Encoded"] else text.encode()) == body
