import contextlib
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace

from bus.event import Event
from bus.outcome import ExceptionName, Failed, FailureKind, Ok, Outcome, Timings
from sandbox.guest._forklight.codings import unpack
from triggers.http.codec import hint_of_form, parse_cookies, parse_query, to_answer, to_event
from triggers.http.errors import RefusedError
from triggers.http.head import Head, parse_head
from triggers.http.problems import id_header, no_route, refusal
from triggers.http.routes import Allowed, Match
from triggers.http.settings import Route

MATCH = Match(Route(function="greet", path="/greet/{name}", decode="json"), {"name": "ada"})
RUN = Timings(accepted_ns=1_000_000, assigned_ns=1_500_000, started_ns=3_500_000, finished_ns=10_000_000)


def event(*headers: tuple[str, str], query: str = "", body: bytes = b"") -> Event:
    head = parse_head("POST", f"/greet/ada?{query}", (1, 1), [("Host", "here"), *headers])
    return to_event(head, MATCH, body, remote="10.0.0.1", invocation_id="i-1", time="2026-11-23T19:06:00.000000Z")


def detail(answer_body: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = json.decode(answer_body)
    return decoded


def test_a_request_becomes_an_event() -> None:
    made = event(("Content-Type", "application/json"), ("X-A", "1"), ("Cookie", "s=abc"), query="a=1&a=2&b", body=b"{}")
    assert (made.id, made.source, made.type, made.time) == (
        "i-1",
        "/http",
        "forklight.http",
        "2026-11-23T19:06:00.000000Z",
    )
    assert (made.function, made.decode, made.body, made.datacontenttype) == ("greet", "json", b"{}", "application/json")
    assert made.http is not None
    assert (made.http.method, made.http.path, made.http.route) == ("POST", "/greet/ada", "/greet/{name}")
    assert made.http.params == {"name": "ada"}
    assert made.http.query == {"a": "2", "b": ""}
    assert made.http.query_all == {"a": ["1", "2"], "b": [""]}
    assert made.http.headers == {
        "host": "here",
        "content-type": "application/json",
        "x-a": "1",
        "cookie": "s=abc",
    }
    assert made.http.cookies == {"s": "abc"}
    assert (made.http.host, made.http.scheme, made.http.remote) == ("here", "http", "10.0.0.1")
    assert [made.queue, made.timer, made.topic, made.call] == [None] * 4


CLOUD_EVENT = (("ce-specversion", "1.0"), ("ce-id", "e%201"), ("ce-source", "/shop"), ("ce-type", "shop.sold"))


def test_a_cloud_event_keeps_its_attributes() -> None:
    made = event(*CLOUD_EVENT, ("ce-time", "2026-01-01T00:00:00Z"), ("ce-subject", "caf%C3%A9"))
    assert (made.id, made.source, made.type) == ("e 1", "/shop", "shop.sold")
    assert (made.time, made.subject) == ("2026-01-01T00:00:00Z", "café")
    assert made.http is not None


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (CLOUD_EVENT[:1], "lacks ce-id, ce-source, ce-type"),
        ((*CLOUD_EVENT[:3], ("ce-type", "")), "lacks ce-type"),
        ((("ce-specversion", "0.3"), *CLOUD_EVENT[1:]), "must be 1.0"),
        ((*CLOUD_EVENT, ("ce-time", "yesterday")), "RFC 3339"),
        ((*CLOUD_EVENT, ("ce-time", "2026-01-01T00:00:00")), "RFC 3339"),
    ],
)
def test_a_broken_cloud_event_is_refused(headers: tuple[tuple[str, str], ...], reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as refused:
        event(*headers)
    assert refused.value.status == 400


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ([("traceparent", TRACE)], TRACE),
        ([("ce-traceparent", TRACE)], TRACE),
        ([("traceparent", "cc" + TRACE[2:] + "-more")], "cc" + TRACE[2:] + "-more"),
        ([("traceparent", "ff" + TRACE[2:])], None),
        ([("traceparent", TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32))], None),
        ([("traceparent", TRACE.upper())], None),
        ([("traceparent", "x")], None),
        ([], None),
    ],
)
def test_only_a_valid_traceparent_is_kept(headers: list[tuple[str, str]], kept: str | None) -> None:
    assert event(*headers).traceparent == kept


def test_query_and_cookies_are_read_leniently() -> None:
    assert parse_query("&a=b=c&=d&%zz&q+r=%C3%A9%ff") == {"a": ["b=c"], "": ["d"], "%zz": [""], "q r": ["é\ufffd"]}
    assert parse_cookies(' a=1; b="2" ;c; =d; a=3;e=f=g;') == {"a": "1", "b": "2", "e": "f=g"}
    assert parse_cookies('a=1"; b="2; c=""; d="; e=x"y"') == {"a": '1"', "b": '"2', "c": "", "d": '"', "e": 'x"y"'}


@pytest.mark.parametrize("after_s", [0.2, 1e308, float("inf"), 10**300, -1.0])
def test_any_retry_after_can_be_written(after_s: float) -> None:
    failed = Failed(kind="throttled", code="QueueFull", message="", retry_after_s=after_s)
    assert 0 <= int(dict(to_answer(failed, "i").headers)["retry-after"]) <= 366 * 86400


def test_a_success_has_what_the_handler_returned() -> None:
    outcome = Ok(
        body=b"hi",
        content_type="text/plain",
        status=201,
        headers=(("set-cookie", "a=1"), ("set-cookie", "b=2"), ("X-A", "é")),
        start="fork",
        timings=RUN,
    )
    answer = to_answer(outcome, "i-1")
    assert (answer.status, answer.body, answer.last) == (201, b"hi", False)
    assert answer.headers == (
        ("content-type", "text/plain"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("X-A", "é"),
    )
    assert answer.own_headers == (
        ("x-forklight-id", "i-1"),
        ("x-forklight-start", "fork"),
        ("server-timing", "queue;dur=0.000, start;dur=2.500, run;dur=6.500"),
    )


def test_a_content_type_header_overrides_that_of_the_value() -> None:
    answer = to_answer(Ok(content_type="text/plain", headers=(("Content-Type", "text/html"),)), "i", own_headers=False)
    assert answer.headers == (("Content-Type", "text/html"),)


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "keep-alive",
        "Transfer-Encoding",
        "te",
        "Trailer",
        "Upgrade",
        "Content-Length",
        "Date",
        "X-Forklight-Id",
    ],
)
def test_headers_that_a_handler_cannot_set_are_dropped(name: str) -> None:
    answer = to_answer(Ok(headers=((name, "x"), ("x-a", "1"))), "i", own_headers=False)
    assert answer.headers == (("x-a", "1"),)


@pytest.mark.parametrize(
    "outcome", [Ok(start="warm"), Failed(kind="error", code=ExceptionName("KeyError"), message="x", start="warm")]
)
def test_own_headers_can_be_omitted(outcome: Outcome) -> None:
    ours = {"x-forklight-id", "x-forklight-start", "server-timing"}
    assert ours <= {name for name, _ in to_answer(outcome, "i").own_headers}
    bare = to_answer(outcome, "i", own_headers=False)
    assert not ours & {name for name, _ in bare.headers + bare.own_headers}


@pytest.mark.invariant("I31")
@given(st.text(max_size=20))
def test_any_id_fits_in_its_header(invocation_id: str) -> None:
    name, value = id_header(invocation_id)
    assert name == "x-forklight-id"
    assert value.isascii()
    assert value.isprintable()
    if invocation_id.isascii() and invocation_id.isprintable():
        assert value == invocation_id


@pytest.mark.parametrize(
    ("name", "value"),
    [("x-a", "1\r\nx-b: 2"), ("x-a\r\nx-b", "1"), ("x-a", "\0"), ("", "1"), ("x a", "1"), ("x:", "1"), ("x", "\ud800")],
)
def test_a_header_that_could_split_the_answer_fails_it(name: str, value: str) -> None:
    answer = to_answer(Ok(body=b"secret", headers=((name, value),)), "i-1")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert detail(answer.body)["code"] == "InvalidHeader"


def test_a_content_type_is_checked_like_a_header() -> None:
    assert to_answer(Ok(content_type="text/plain\r\nx: y"), "i").status == 500


@pytest.mark.parametrize("status", [100, 101, 199, 600, 0, -1])
def test_a_status_that_is_not_final_fails_the_answer(status: int) -> None:
    answer = to_answer(Ok(status=status), "i")
    assert (answer.status, detail(answer.body)["code"]) == (500, "InvalidStatus")


@pytest.mark.parametrize(
    ("kind", "code", "status", "retry_after"),
    [
        ("error", "ValueError", 500, None),
        ("error", "Undecodable", 400, None),
        ("error", "Rejected", 422, None),
        ("error", "ResultTooLarge", 500, None),
        ("timeout", "Timeout", 504, None),
        ("crash", "Signal", 502, None),
        ("load", "ImportModuleError", 502, None),
        ("protocol", "BadFrame", 502, None),
        ("store", "DiskFull", 503, "1"),
        ("throttled", "QueueFull", 429, "1"),
        ("throttled", "WaitExpired", 503, "1"),
        ("throttled", "Draining", 503, "1"),
        ("unknown_function", "", 404, None),
    ],
)
def test_the_status_table(kind: FailureKind, code: str, status: int, retry_after: str | None) -> None:
    answer = to_answer(Failed(kind=kind, code=ExceptionName(code), message="m"), "i-1")
    assert answer.status == status
    assert dict(answer.headers).get("retry-after") == retry_after
    problem = detail(answer.body)
    assert problem["status"] == status
    assert problem["invocation_id"] == "i-1"
    assert problem["code"] == code
    assert {"type", "title", "detail"} <= problem.keys()
    assert dict(answer.headers)["content-type"] == "application/problem+json"


def test_a_named_time_to_retry_is_rounded_up() -> None:
    answer = to_answer(Failed(kind="throttled", code="QueueFull", message="m", retry_after_s=2.1), "i")
    assert dict(answer.headers)["retry-after"] == "3"


def test_internals_of_a_function_are_shown_only_in_dev() -> None:
    outcome = Failed(
        kind="error", code=ExceptionName("ValueError"), message="dsn=secret", traceback="File x, line 1", start="warm"
    )
    shown, hidden = to_answer(outcome, "i", dev=True), to_answer(outcome, "i")
    assert detail(shown.body)["detail"] == "dsn=secret"
    assert detail(shown.body)["traceback"] == "File x, line 1"
    assert b"secret" not in hidden.body
    assert "traceback" not in detail(hidden.body)
    assert dict(hidden.own_headers)["x-forklight-start"] == "warm"


@pytest.mark.parametrize(
    ("content_type", "body", "is_told"),
    [
        ("application/x-www-form-urlencoded", b' {"a": 1}', True),
        ("application/x-www-form-urlencoded; charset=utf-8", b"[1]", True),
        ("application/x-www-form-urlencoded", b"a=1", False),
        ("application/x-www-form-urlencoded", b"", False),
        ("application/json", b'{"a": 1}', False),
    ],
)
def test_a_hint_for_json_sent_as_a_form(content_type: str, body: bytes, is_told: bool) -> None:
    sent = replace(event(("Content-Type", content_type), body=body), decode=None)
    hint = hint_of_form(sent)
    assert bool(hint) == is_told
    assert not hint_of_form(replace(sent, decode="bytes")), "the route decides how the body is decoded"
    failed = Failed(kind="error", code=ExceptionName("KeyError"), message="'a'")
    assert detail(to_answer(failed, "i", dev=True, hint=hint).body).get("hint", "") == hint
    assert "hint" not in detail(to_answer(failed, "i", hint=hint).body)


def test_a_message_for_the_client_reaches_it() -> None:
    answer = to_answer(Failed(kind="error", code="Rejected", message="no such order"), "i")
    assert detail(answer.body)["detail"] == "no such order"


def test_no_route() -> None:
    assert no_route("GET", None).status == 404
    wrong, options = no_route("PUT", Allowed(("GET", "OPTIONS"))), no_route("OPTIONS", Allowed(("GET", "OPTIONS")))
    assert (wrong.status, dict(wrong.headers)["allow"]) == (405, "GET, OPTIONS")
    assert (options.status, dict(options.headers)["allow"], options.body) == (204, "GET, OPTIONS", b"")


TEXT = st.text(st.characters(), max_size=30)
"""Includes lone surrogates, which a guest's JSON can contain."""


@pytest.mark.invariant("I22")
@given(TEXT, TEXT, TEXT, TEXT, st.binary(max_size=30))
def test_any_request_becomes_an_event_or_is_refused(
    path: str, query: str, cookie: str, ce_time: str, body: bytes
) -> None:
    headers = {"cookie": cookie, "ce-time": ce_time, "ce-specversion": "1.0", "ce-id": path, "ce-source": query}
    head = Head("GET", path, query, "", headers | {"ce-type": cookie, "traceparent": cookie})
    status, kept = 0, b""
    try:
        kept = to_event(head, MATCH, body, remote="", invocation_id="i", time="t").body
    except RefusedError as refused:
        status = refused.status
    assert status == 400 or kept == body


@pytest.mark.invariant("I31")
@given(
    st.one_of(
        st.builds(
            Ok,
            body=st.binary(max_size=20),
            content_type=st.none() | TEXT,
            status=st.integers(-10, 1000),
            headers=st.lists(st.tuples(TEXT, TEXT), max_size=4).map(tuple),
        ),
        st.builds(
            Failed,
            kind=st.sampled_from(["error", "timeout", "crash", "load", "protocol", "store", "throttled"]),
            code=TEXT,
            message=TEXT,
            traceback=TEXT,
            retry_after_s=st.none() | st.floats(0, 1e6),
        ),
    ),
    st.booleans(),
)
def test_any_outcome_has_an_answer_that_can_be_written(outcome: Ok | Failed, dev: bool) -> None:
    answer = to_answer(outcome, "i", dev=dev)
    assert 200 <= answer.status <= 599
    assert all("\r" not in text and "\n" not in text for pair in answer.headers + answer.own_headers for text in pair)
    assert answer.own == "".join(f"{name}: {value}\r\n" for name, value in answer.own_headers)


def _packed(coding: str, *, decode: Literal["bytes"] | None = None, body: bytes = b"x") -> Event:
    match = Match(Route(function="greet", path="/", decode=decode, max_body_bytes=7), {})
    head = parse_head("POST", "/", (1, 1), [("Host", "here"), ("Content-Encoding", coding)])
    return to_event(head, match, body, remote="", invocation_id="i-1", time="2026-11-23T19:06:00.000000Z")


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP , deflate", "identity", ""])
def test_a_compressed_body_is_passed_on_with_its_limit(coding: str) -> None:
    made = _packed(coding)
    assert (made.coding, made.max_unpacked, made.body) == (coding, 7, b"x")
    with contextlib.suppress(ValueError):  # the body is not compressed like that, but never an unsupported coding
        unpack(b"x", coding, 7)


@pytest.mark.parametrize("coding", ["br", "gzip, zstd", "gzip;q=1", "gzip," * 5])
def test_an_unknown_coding_is_415_and_names_the_known_ones(coding: str) -> None:
    with pytest.raises(RefusedError) as refused:
        _packed(coding)
    answer = refusal(refused.value)
    assert (answer.status, dict(answer.headers)["accept-encoding"], answer.last) == (415, "gzip, deflate", False)
    assert "Content-Encoding" in detail(answer.body)["detail"]


def test_a_route_that_decodes_bytes_gets_them_compressed() -> None:
    assert _packed("br", decode="bytes").coding is None
    assert _packed("br", body=b"").coding is None


def test_a_body_too_large_after_decompression_is_413() -> None:
    answer = to_answer(Failed(kind="error", code="BodyTooLarge", message="over 7 bytes"), "i-1")
    assert (answer.status, detail(answer.body)["detail"]) == (413, "over 7 bytes")
