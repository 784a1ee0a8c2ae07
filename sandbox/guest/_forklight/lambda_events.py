"""The payload of an event for a command: as AWS Lambda would make it, or the event of our own handlers as JSON. Pure.

- an HTTP request: payload format 2.0, of API Gateway's HTTP APIs and of function URLs
- messages of a queue, one or a batch: the records of SQS
- a timer: a scheduled event of EventBridge
- whatever else was sent to the function: its data, as with Lambda's Invoke

Format: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html,
https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html, https://docs.aws.amazon.com/lambda/latest/dg/services-cloudwatchevents.html
"""

import re
from binascii import b2a_base64
from datetime import datetime, timezone
from hashlib import md5
from typing import Any
from urllib.parse import urlencode

from . import mediatypes
from .decoding import Undecodable
from .encoding import encode_json
from .events import data_of, make_event

ACCOUNT = "000000000000"
_PLACE = re.compile(r"\{(\w+)(?::(\w+))?\}")
_FRACTION = re.compile(r"\.\d+")
_TEXT_TYPES = ("application/json", "application/xml", "application/javascript", "application/x-www-form-urlencoded")


def payload(fields: "dict[str, Any]", body: bytes, *, form: str, function: str, region: str) -> bytes:
    """The JSON for an event, given as the fields and the body of its frame. Raises Undecodable.

    `form` is `lambda` or `forklight`; `region` goes where AWS names one.
    """
    if form == "forklight":
        return encode_json(make_event(fields, body))
    if "http" in fields:
        return encode_json(_request(fields, body, function))
    if "queue" in fields:
        return encode_json({"Records": [_record(one, part, region) for one, part in _messages(fields, body)]})
    if "timer" in fields:
        return encode_json(_scheduled(fields, region))
    return _data(fields, body)


def _request(fields: "dict[str, Any]", body: bytes, function: str) -> "dict[str, Any]":
    """Payload format 2.0. Of a query, the order among different names is not kept."""
    http = fields["http"]
    headers = dict(http.get("headers", {}))
    cookies = headers.pop("cookie", "")
    query = http.get("query_all", {})
    route = f"{http['method']} {_PLACE.sub(_place, http['route'])}"
    at = _moment(fields["time"])
    host = http.get("host", "")
    context: dict[str, Any] = {
        "accountId": ACCOUNT,
        "apiId": function,
        "domainName": host,
        "domainPrefix": host.partition(".")[0],
        "http": {
            "method": http["method"],
            "path": http["path"],
            "protocol": "HTTP/1.1",
            "sourceIp": http.get("remote", ""),
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": fields["id"],
        "routeKey": route,
        "stage": "$default",
        "time": at.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "timeEpoch": _milliseconds(at),
    }
    if http.get("key") is not None:
        context["authorizer"] = {"lambda": {"key": http["key"], "scopes": http.get("scopes", [])}}
    made: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route,
        "rawPath": http["path"],
        "rawQueryString": urlencode(query, doseq=True),
        "headers": headers,
        "requestContext": context,
        "isBase64Encoded": False,
    }
    if cookies:
        made["cookies"] = [one.strip() for one in cookies.split(";")]
    if query:
        made["queryStringParameters"] = {name: ",".join(values) for name, values in query.items()}
    if http.get("params"):
        made["pathParameters"] = {name: str(value) for name, value in http["params"].items()}
    if body:
        text = None if "content-encoding" in headers else _text(body, fields.get("datacontenttype"))
        made["body"], made["isBase64Encoded"] = (_base64(body), True) if text is None else (text, False)
    return made


def _place(found: "re.Match[str]") -> str:
    """`{id:int}` as `{id}`, and `{rest:path}` as `{rest+}`."""
    return f"{{{found[1]}{'+' if found[2] == 'path' else ''}}}"


def _messages(fields: "dict[str, Any]", body: bytes) -> "list[tuple[dict[str, Any], bytes]]":
    """The messages of a batch, or the only one, each with its body."""
    if "items" not in fields:
        return [(fields, body)]
    found, start = [], 0
    for item in fields["items"]:
        found.append((item, body[start : start + item["length"]]))
        start += item["length"]
    return found


def _record(fields: "dict[str, Any]", body: bytes, region: str) -> "dict[str, Any]":
    """A record of SQS, whose body is text. One that is not UTF-8, or is compressed, is base64 and says so."""
    queue = fields["queue"]
    text = None if fields.get("coding") else _utf8(body)
    sent = str(_milliseconds(_moment(queue.get("timestamp") or fields["time"])))
    extra = {name: queue[name] for name in ("correlation_id", "reply_to", "type") if queue.get(name)}
    record = {
        "messageId": fields["id"],
        "receiptHandle": fields["id"],
        "body": _base64(body) if text is None else text,
        "attributes": {
            "ApproximateReceiveCount": str(queue.get("attempt", 1)),
            "SentTimestamp": sent,
            "SenderId": queue.get("user_id") or queue.get("app_id") or "forklight",
            "ApproximateFirstReceiveTimestamp": sent,
        },
        "messageAttributes": {
            name: _attribute(value)
            for name, value in {**queue.get("headers", {}), **extra}.items()
            if value is not None
        },
        "md5OfBody": md5(body, usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{region}:{ACCOUNT}:{queue['name']}",
        "awsRegion": region,
    }
    return record if text is not None else {**record, "isBase64Encoded": True}


def _attribute(value: Any) -> "dict[str, Any]":
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = value if isinstance(value, str) else encode_json(value).decode()
    return {
        "stringValue": text,
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": "Number" if is_number else "String",
    }


def _scheduled(fields: "dict[str, Any]", region: str) -> "dict[str, Any]":
    """A scheduled event. `detail`, which is empty on AWS, has what a handler finds in `event["timer"]`."""
    timer = fields["timer"]
    return {
        "version": "0",
        "id": fields["id"],
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": _moment(timer["scheduled_at"]).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [f"arn:aws:events:{region}:{ACCOUNT}:rule/{timer['name']}"],
        "detail": timer,
    }


def _data(fields: "dict[str, Any]", body: bytes) -> bytes:
    """What was sent, as JSON: JSON as it is, no body as `{}`, text as a string, and octets as base64 in an object."""
    coding, decode, content_type = fields.get("coding"), fields.get("decode"), fields.get("datacontenttype")
    data = data_of(body, content_type, decode, coding, fields.get("max_unpacked", 0))
    if data is None and not body:
        return b"{}"
    if isinstance(data, bytes):
        return encode_json({"body": _base64(data), "isBase64Encoded": True})
    is_json = content_type == "application/json" and not coding and not decode
    return body if is_json and body[0] in b"{[" and _utf8(body) is not None else encode_json(data)


def _text(body: bytes, content_type: "str | None") -> "str | None":
    """The body as text, if its type says that it is text and it is UTF-8."""
    kind, parameters = mediatypes.parse(content_type or "text/plain")
    is_text = kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))
    is_utf8 = parameters.get("charset", "utf-8").lower() in ("utf-8", "utf8", "us-ascii")
    return _utf8(body) if is_text and is_utf8 else None


def _utf8(body: bytes) -> "str | None":
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _base64(body: bytes) -> str:
    return b2a_base64(body, newline=False).decode("ascii")


def _moment(rfc3339: str) -> datetime:
    """Raises Undecodable: a CloudEvent brings a time of its own."""
    text = _FRACTION.sub(lambda found: f"{found[0]:0<7.7}", rfc3339)  # what Python 3.10 takes
    try:
        found = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text)
        return found.astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise Undecodable(f"the event's time {rfc3339!r:.60} cannot be read: {error}") from None


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
