"""What a command may answer, and what becomes of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.encoding import Unencodable
from sandbox.guest._forklight.lambda_answers import Listed, error_of, result_of, value_of
from sandbox.guest._forklight.results import Result

pytestmark = pytest.mark.any_user
BATCH = {"queue": {"name": "orders"}, "items": []}
INTEGRATION = "application/vnd.awslambda.http-integration-response"
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def answered(value: Any, **fields: Any) -> Result:
    return result_of(json.dumps(value).encode(), "application/json", fields)


@pytest.mark.invariant("I15")
@given(json_values)
def test_any_json_value_comes_back(value: Any) -> None:
    if isinstance(value, dict) and "statusCode" in value:
        return
    try:
        result = answered(value)
    except Unencodable:
        assert "\\ud" in json.dumps(value)
        return
    if value is None:
        assert (result.status, result.body) == (204, b"")
    elif isinstance(value, str):
        assert (result.type, result.body.decode()) == ("text/plain; charset=utf-8", value)
    else:
        assert (result.type, json.loads(result.body)) == ("application/json", value)


def test_failures_of_a_batch_are_ours() -> None:
    def failures(listed: Any) -> Any:
        return json.loads(answered({"batchItemFailures": listed}, **BATCH).body)["failures"]

    assert failures([{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]) == ["m1", "m2"]
    assert failures([]) == failures(None) == []
    assert failures([{"id": "m1"}, "m2"]) == [None, None], "nobody knows which, so all of them"
    assert failures("m1") == "m1"


def test_failures_of_a_single_message_are_its_failure() -> None:
    assert answered({"batchItemFailures": []}, queue={"name": "orders"}).status == 204
    with pytest.raises(Listed):
        answered({"batchItemFailures": [{"itemIdentifier": "m1"}]}, queue={"name": "orders"})
    assert json.loads(answered({"batchItemFailures": [1]}).body) == {"batchItemFailures": [1]}, "no queue, no meaning"


def test_a_streamed_response_without_a_prelude_is_an_error() -> None:
    for body in (b"", b"hello", b"[]" + bytes(8), b"{" + bytes(8) + b"x"):
        with pytest.raises(Unencodable, match="eight zero bytes"):
            result_of(body, INTEGRATION, {})
    result = result_of(b"{}" + bytes(8) + b"\x00x", INTEGRATION, {})
    assert (result.status, result.type, result.body) == (200, "application/octet-stream", b"\x00x")


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{"a":1}', "", {"a": 1}),
        (b"not json", "application/x-www-form-urlencoded", "not json"),
        (b"\xff", "", b"\xff"),
        (b"[1]", "text/plain", "[1]"),
        (b"[1]", "image/png", b"[1]"),
        (b"NaN", "application/json", "NaN"),
    ],
)
def test_a_body_as_a_value(body: bytes, content_type: str, expected: Any) -> None:
    assert value_of(body, content_type) == expected


def test_errors_of_the_clients_of_aws() -> None:
    go = error_of(
        b'{"errorMessage":"no","errorType":"errorString","stackTrace":[{"path":"main.go","line":7,"label":"main"}]}', {}
    )
    node = error_of(b'{"errorType":"TypeError","errorMessage":"x","trace":["TypeError: x","    at f (a.js:1:2)"]}', {})
    bare = error_of(b"it failed", {"lambda-runtime-function-error-type": "Runtime.Oops"})

    assert (go.code, go.traceback) == ("errorString", '  File "main.go", line 7, in main')
    assert (node.code, node.traceback) == ("TypeError", "TypeError: x\n    at f (a.js:1:2)")
    assert (bare.code, bare.message) == ("Runtime.Oops", "it failed")
    assert error_of(None, {}).code == "Error"


@pytest.mark.invariant("I12")
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_error(body: bytes) -> None:
    failure = error_of(body, {})

    assert failure.code
    assert len(failure.code) <= 200
    assert failure.code.isprintable()


@pytest.mark.parametrize("after", ["soon", "nan", "-1", "1e300", ""])
def test_a_retry_without_a_time_that_is_possible_has_none(after: str) -> None:
    failure = error_of(json.dumps({"errorType": "ForklightRetry", "errorMessage": after}).encode(), {})

    assert (failure.code, failure.retry_after_s) == ("Retry", None)
