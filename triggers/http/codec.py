"""Turns a request into an event, and an outcome into an answer. Pure.

ARCHITECTURE.md §5 has the table of statuses.
"""

from math import ceil
from urllib.parse import unquote, unquote_plus

from msgspec.structs import replace

from bus.event import Event, Headers, HttpSection, is_traceparent
from bus.outcome import Code, ExceptionName, Failed, FailureKind, Ok, Outcome, phases_ns
from bus.times import has_offset
from triggers.http.answers import Answer, HeaderLines, InvalidHeaderError, announced_length, safe_headers
from triggers.http.errors import RefusedError
from triggers.http.head import Head
from triggers.http.policy.keys import Holder
from triggers.http.problems import id_header, problem
from triggers.http.routes import Match

STATUS_BY_KIND = {
    "error": 500,
    "timeout": 504,
    "crash": 502,
    "load": 502,
    "protocol": 502,
    "store": 503,
    "throttled": 503,
    "unknown_function": 404,
}
STATUS_BY_CODE: dict[tuple[FailureKind, Code | ExceptionName], int] = {
    ("error", "Undecodable"): 400,
    ("error", "BodyTooLarge"): 413,
    ("error", "Rejected"): 422,
    ("throttled", "QueueFull"): 429,
}

BY_FUNCTION = "function"
"""The reason in the record when the handler chose the status."""

_FOR_THE_CLIENT = frozenset({400, 404, 413, 422, 429, 503, 504})
"""Statuses whose message was written for the client. Any other message may reveal the function's internals."""

_CLOUD_EVENT = ("id", "source", "type", "time", "subject")
_RETRY_AFTER_S = 1
_LONGEST_RETRY_AFTER_S = 366 * 86400

_CODINGS = frozenset(("gzip", "x-gzip", "deflate", "identity", ""))
"""The codings that the guest can decompress."""
_MAX_CODINGS = 4
_ACCEPTED = "gzip, deflate"


def to_event(
    head: Head,
    match: Match,
    body: bytes,
    *,
    remote: str,
    invocation_id: str,
    time: str,
    scheme: str = "http",
    holder: Holder | None = None,
) -> Event:
    """Make the event that the handler gets. A CloudEvent in binary mode keeps its attributes.

    `holder`: whose key the request brought, if the route requires one.

    Raises RefusedError: 400 for an invalid CloudEvent, 415 for an unknown Content-Encoding.
    """
    headers = head.headers
    query_all = parse_query(head.query) if head.query else {}
    section = HttpSection(
        method=head.method,
        path=head.path,
        route=match.route.path,
        params=match.params,
        query={name: values[-1] for name, values in query_all.items()} if query_all else {},
        query_all=query_all,
        headers=headers,
        cookies=parse_cookies(headers["cookie"]) if "cookie" in headers else {},
        host=head.host,
        scheme=scheme,
        remote=remote,
        key=None if holder is None else holder.name,
        scopes=[] if holder is None else [*holder.scopes],
    )
    event = Event(
        id=invocation_id,
        source="/http",
        type="forklight.http",
        time=time,
        datacontenttype=headers.get("content-type"),
        body=body,
        decode=match.route.decode,
        function=match.route.function,
        http=section,
        traceparent=_traceparent(headers),
    )
    if "content-encoding" in headers and body and match.route.decode != "bytes":
        event = _packed(event, headers["content-encoding"], match.route.max_body_bytes)
    return replace(event, **cloud_event_attributes(headers)) if "ce-specversion" in headers else event


def _packed(event: Event, coding: str, max_body: int) -> Event:
    """Let the guest decompress the body, to `max_body` at most. Raises RefusedError (415, RFC 9110 §15.5.16)."""
    names = [name.strip().lower() for name in coding.split(",")]
    unknown = [name for name in names if name not in _CODINGS]
    if unknown or len(names) > _MAX_CODINGS:
        detail = f"the Content-Encoding {coding:.80} is not supported; use one of {_ACCEPTED}"
        raise RefusedError(415, detail, headers=(("accept-encoding", _ACCEPTED),), last=False)
    return replace(event, coding=coding, max_unpacked=max_body)


def cloud_event_attributes(headers: Headers) -> dict[str, str]:
    """Return the attributes in `ce-*` headers (CloudEvents HTTP binding 1.0 §3.1), percent-decoded.

    Raises RefusedError (400).
    """
    found = {name: unquote(headers[f"ce-{name}"]) for name in _CLOUD_EVENT if headers.get(f"ce-{name}")}
    if headers["ce-specversion"] != "1.0":
        raise RefusedError(400, "the CloudEvent's ce-specversion must be 1.0")
    missing = [f"ce-{name}" for name in ("id", "source", "type") if name not in found]
    if missing:
        raise RefusedError(400, f"the CloudEvent lacks {', '.join(missing)}")
    if "time" in found and not has_offset(found["time"]):
        raise RefusedError(400, "the CloudEvent's ce-time is not an RFC 3339 time")
    return found


def parse_query(query: str) -> dict[str, list[str]]:
    """`a=1&a=2&b` → `{"a": ["1", "2"], "b": [""]}`. Bytes that are not UTF-8 are replaced; nothing is refused."""
    found: dict[str, list[str]] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            found.setdefault(_decode(name), []).append(_decode(value))
    return found


def parse_cookies(header: str) -> Headers:
    """`a=1; b="2"` → `{"a": "1", "b": "2"}` (RFC 6265 §5.4). The first cookie of a name counts."""
    found: Headers = {}
    for pair in header.split(";"):
        name, separator, value = pair.partition("=")
        if separator and name.strip():
            found.setdefault(name.strip(), _unquoted(value.strip()))
    return found


def _unquoted(text: str) -> str:
    """Strip a pair of quotes around a cookie's value (RFC 6265 §4.1.1)."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def to_answer(
    outcome: Outcome,
    invocation_id: str,
    *,
    dev: bool = False,
    hint: str = "",
    own_headers: bool = True,
    version_header: bool = False,
) -> Answer:
    """Make the answer to a client. `dev` adds the exception's message and traceback, and the `hint`.

    `own_headers` adds X-Forklight-Id, X-Forklight-Start and Server-Timing, `version_header` X-Forklight-Version.
    """
    ours = _own_lines(outcome, invocation_id) if own_headers else ""
    if version_header and (outcome.release or outcome.version):
        ours += f"x-forklight-version: {outcome.release or outcome.version}\r\n"
    if isinstance(outcome, Ok):
        return _success(outcome, invocation_id, ours)
    return _failure(outcome, invocation_id, dev=dev, hint=hint, ours=ours)


def hint_of_form(event: Event) -> str:
    """A likely reason why a handler fails: `curl -d` sends JSON as a form by default. Empty if it does not apply."""
    is_form = (event.datacontenttype or "").lower().startswith("application/x-www-form-urlencoded")
    if is_form and event.decode is None and event.body.lstrip()[:1] in (b"{", b"["):
        return "the body looks like JSON but was sent as a form: use Content-Type: application/json (curl --json)"
    return ""


def _decode(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def _success(outcome: Ok, invocation_id: str, ours: str) -> Answer:
    try:
        headers = safe_headers(outcome.headers, outcome.content_type)
    except InvalidHeaderError as error:
        return _unusable("InvalidHeader", str(error), invocation_id, ours)
    if not 200 <= outcome.status <= 599:
        detail = f"the handler returned status {outcome.status}; use one from 200 to 599"
        return _unusable("InvalidStatus", detail, invocation_id, ours)
    announced_bytes = announced_length(outcome.headers) if outcome.headers and not outcome.body else None
    return Answer(outcome.status, headers, outcome.body, reason=BY_FUNCTION, announced_bytes=announced_bytes, own=ours)


def _unusable(code: str, detail: str, invocation_id: str, ours: str) -> Answer:
    members = {"code": code, "invocation_id": invocation_id}
    return replace(problem(500, detail, members=members, reason="error"), own=ours)


def _failure(outcome: Failed, invocation_id: str, *, dev: bool, hint: str, ours: str) -> Answer:
    status = STATUS_BY_CODE.get((outcome.kind, outcome.code)) or STATUS_BY_KIND[outcome.kind]
    members = {"code": outcome.code, "invocation_id": invocation_id}
    detail = outcome.message
    if dev:
        if hint and outcome.kind == "error":
            members["hint"] = hint
            detail = detail.removesuffix(f": {hint}")  # the guest has added it for the log
        members |= {"traceback": outcome.traceback} if outcome.traceback else {}
    elif status not in _FOR_THE_CLIENT:
        detail = "the function failed; its log has the reason under this invocation_id"
    headers: HeaderLines = ()
    if outcome.retry_after_s is not None or status in (429, 503):
        wanted_s = _RETRY_AFTER_S if outcome.retry_after_s is None else outcome.retry_after_s
        retry_after_s = ceil(max(0, min(_LONGEST_RETRY_AFTER_S, wanted_s)))
        headers = (("retry-after", str(retry_after_s)),)
    return replace(problem(status, detail, members=members, headers=headers, reason=outcome.kind), own=ours)


def _own_lines(outcome: Outcome, invocation_id: str) -> str:
    """The id, the start kind, and the milliseconds spent in line, on the start and in the handler (Server-Timing)."""
    name, value = id_header(invocation_id)
    if outcome.start is None:
        return f"{name}: {value}\r\n"
    queue_ns, start_ns, run_ns = phases_ns(outcome)
    return (
        f"{name}: {value}\r\nx-forklight-start: {outcome.start}\r\n"
        f"server-timing: queue;dur={_ms(queue_ns)}, start;dur={_ms(start_ns)}, run;dur={_ms(run_ns)}\r\n"
    )


_SHORT_MS = tuple(f"0.{us:03}" for us in range(1000))
"""For times below a millisecond, because formatting three of them costs as much as parsing a header."""


def _ms(duration_ns: int) -> str:
    """Milliseconds with three decimals, rounded down."""
    if 0 <= duration_ns < 1_000_000:
        return _SHORT_MS[duration_ns // 1000]
    return f"{duration_ns // 1_000_000}.{duration_ns // 1000 % 1000:03}"


def _traceparent(headers: Headers) -> str | None:
    """The traceparent as received, or None if it is not valid."""
    value = headers.get("traceparent") or headers.get("ce-traceparent")
    return value if value is not None and is_traceparent(value) else None
