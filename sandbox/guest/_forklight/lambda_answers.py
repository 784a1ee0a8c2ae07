"""What a command answers, as a response or as a failure of ours. Pure.

A command may post JSON, as AWS's clients do, or anything else: text that is not JSON stays text, as from a shell
script, and a body with another content type stays as it is. What is streamed on AWS begins with status and headers as
JSON, eight zero bytes, and then its body (https://docs.aws.amazon.com/lambda/latest/dg/config-rs-write-functions.html);
here it is sent once it is complete.
"""

import json
from binascii import a2b_base64
from typing import Any, NamedTuple, NoReturn

from . import mediatypes
from .encoding import JSON, Unencodable, encode_json
from .http_requests import Request
from .results import Result, encode_result
from .tracebacks import cut
from .wire import MAX_CODE_CHARS

RETRY, REJECT = "ForklightRetry", "ForklightReject"
"""Error types by which a command asks for another attempt, or ends the event for good."""
_INTEGRATION = "application/vnd.awslambda.http-integration-response"
_END_OF_PRELUDE = bytes(8)
_UNSAID = ("", JSON, "application/x-www-form-urlencoded")
"""Types of clients that did not choose one: the last is curl's."""
_UNKNOWN = "application/unknown"
"""What awslambdaric says of bytes."""
_MAX_MESSAGE_BYTES, _MAX_TRACEBACK_BYTES, _MAX_SECONDS = 4 * 1024, 64 * 1024, 366 * 86400.0
_RESERVED = frozenset(
    ("Undecodable", "BodyTooLarge", "Unencodable", "ResultTooLarge", "Retry", "Rejected", "Timeout", "MemoryError")
) | {"Unroutable"}


class Failure(NamedTuple):
    """An error that the command reports."""

    code: str
    message: str
    traceback: str = ""
    retry_after_s: "float | None" = None


class Listed(Exception):
    """The only message of an event is in `batchItemFailures`."""


def result_of(body: bytes, content_type: str, fields: "dict[str, Any]") -> Result:
    """The response for what the command posted; `fields` are those of the event.

    Raises Unencodable for a response with an impossible status or header, and Listed.
    """
    media_type, _ = mediatypes.parse(content_type)
    if media_type == _INTEGRATION:
        return _integrated(body)
    if media_type not in _UNSAID:
        kind = "application/octet-stream" if media_type == _UNKNOWN else content_type
        return encode_result((body, 200, {"Content-Type": kind}))
    try:
        value = _STRICT.decode(body.decode()) if body else None
    except (ValueError, RecursionError):
        return encode_result(_text_or_bytes(body))
    if isinstance(value, dict):
        if "queue" in fields and "batchItemFailures" in value:
            return _failures(value["batchItemFailures"] or [], is_batch="items" in fields)
        if "statusCode" in value:
            return encode_result(value)
    if value is None or isinstance(value, str):
        return encode_result(value)
    return Result(200, JSON, [], body)


def value_of(body: bytes, content_type: str) -> Any:
    """What a command sends on, as a value for an output: JSON, text, or else bytes."""
    media_type, _ = mediatypes.parse(content_type)
    if media_type in _UNSAID:
        try:
            return _STRICT.decode(body.decode())
        except (ValueError, RecursionError):
            return _text_or_bytes(body)
    return _text_or_bytes(body) if media_type.startswith("text/") else body


def _failures(listed: Any, *, is_batch: bool) -> Result:
    """`batchItemFailures` as our own `failures`. What makes no sense stays something that makes no sense."""
    if not is_batch:
        if listed:
            raise Listed
        return encode_result(None)
    if isinstance(listed, list):
        listed = [each.get("itemIdentifier") if isinstance(each, dict) else None for each in listed]
    return Result(200, JSON, [], encode_json({"failures": listed}))


def _integrated(body: bytes) -> Result:
    """A streamed response, complete."""
    head, found, rest = body.partition(_END_OF_PRELUDE)
    try:
        prelude = json.loads(head) if found else None
    except (ValueError, RecursionError):
        prelude = None
    if not isinstance(prelude, dict):
        raise Unencodable(f"a body of type {_INTEGRATION} begins with a JSON object and eight zero bytes")
    answer = {key: prelude[key] for key in ("statusCode", "headers", "multiValueHeaders", "cookies") if key in prelude}
    made = encode_result({"statusCode": 200, **answer})
    return made._replace(type=made.type or "application/octet-stream", body=rest)


def failure_of(request: Request, *, is_error: bool) -> "Failure | None":
    """The failure that a request reports; None if it has a result. In a streamed result, an error is in the trailer."""
    if is_error:
        return error_of(request.body, request.headers)
    if "lambda-runtime-function-error-type" not in request.headers:
        return None
    try:
        said = a2b_base64(request.headers.get("lambda-runtime-function-error-body", ""))
    except ValueError:
        said = b""
    return error_of(said, request.headers)


def error_of(body: "bytes | None", headers: "dict[str, str]") -> Failure:
    """The error that the command posted: `errorType`, `errorMessage` and `stackTrace` (`trace` from Node.js)."""
    try:
        said = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        said = {"errorMessage": (body or b"").decode("utf-8", "replace")}
    if not isinstance(said, dict):
        said = {"errorMessage": json.dumps(said)}
    kind = str(said.get("errorType") or headers.get("lambda-runtime-function-error-type") or "Error")
    message = cut(str(said.get("errorMessage") or ""), _MAX_MESSAGE_BYTES)
    if kind == REJECT:
        return Failure("Rejected", message)
    if kind == RETRY:
        return Failure("Retry", *_retry(said.get("retryAfter"), message))
    trace = said.get("stackTrace") or said.get("trace")
    return Failure(code_of(kind), message, cut(_traceback(trace), _MAX_TRACEBACK_BYTES))


def code_of(kind: str) -> str:
    """The error type as a code, marked if it equals one of ours, some of which forbid another attempt."""
    kind = kind if kind.isprintable() else kind.encode("unicode_escape").decode()
    return (f"command.{kind}" if kind in _RESERVED else kind)[:MAX_CODE_CHARS]


def _retry(after: Any, message: str) -> "tuple[str, str, float | None]":
    """Message, traceback and seconds: those of `retryAfter`, or a message that is a number."""
    try:
        seconds = float(message if after is None else after)
    except (TypeError, ValueError):
        return message or "the command asked for another attempt", "", None
    if not 0 <= seconds <= _MAX_SECONDS:
        return f"{message} (it asked for another attempt in {seconds:g} s, which is not possible)", "", None
    return f"the command asked for another attempt in {seconds:g} s", "", seconds


def _traceback(trace: Any) -> str:
    """Lines of text, or frames as Go's client has them."""
    if not isinstance(trace, list):
        return trace if isinstance(trace, str) else ""
    lines = [
        f'  File "{each.get("path")}", line {each.get("line")}, in {each.get("label")}'
        if isinstance(each, dict)
        else str(each).rstrip("\n")
        for each in trace
    ]
    return "\n".join(lines)


def _text_or_bytes(body: bytes) -> "str | bytes":
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)
