"""Answers without a function behind them: refusals, missing routes, a full or ending server. Pure.

Each is `application/problem+json` (RFC 9457). docs/http.md has the table of statuses.
"""

from http import HTTPStatus
from urllib.parse import quote

from msgspec import json
from msgspec.structs import replace

from triggers.http.answers import Answer, HeaderLines
from triggers.http.errors import RETRY_SOON, RefusedError
from triggers.http.routes import Allowed
from triggers.http.settings import HttpSettings

REASONS = {
    400: "malformed",
    401: "key",
    404: "no_route",
    405: "method",
    408: "slow",
    412: "precondition",
    413: "too_large",
    414: "too_long",
    415: "encoding",
    416: "range",
    417: "not_offered",
    431: "too_long",
    500: "broken",
    501: "not_offered",
    503: "busy",
}
"""Why the trigger itself answers with a status, unless it says so otherwise: a word for logs and metrics."""
STOPPING = "stopping"
"""The reason of a 503 because the server ends."""

_PLAIN = "!#$&'()*+,/:;<=>?@[]^`{|}"


def refusal(refused: RefusedError) -> Answer:
    """The answer to a request that never became an event."""
    return replace(problem(refused.status, refused.detail, headers=refused.headers), last=refused.last)


def no_route(method: str, found: Allowed | None) -> Answer:
    """404, 405, or the 204 of an OPTIONS that no route wanted; the last two say Allow (RFC 9110 §15.5.6)."""
    if found is None:
        return problem(404, "no function has this path")
    allow = ("allow", ", ".join(found.methods))
    if method == "OPTIONS":
        return Answer(204, (allow,), reason="options")
    return problem(405, f"this path takes {allow[1]}", headers=(allow,))


def problem(
    status: int,
    detail: str,
    *,
    members: dict[str, str] | None = None,
    headers: HeaderLines = (),
    reason: str = "",
) -> Answer:
    """`application/problem+json` (RFC 9457): type, title, status, detail, and `members` beside them.

    `reason` is for the record, if it is not the usual one of REASONS.
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": _printable(detail)}
    for name, text in (members or {}).items():
        body[name] = _printable(text)
    headers = (("content-type", "application/problem+json"), *headers)
    return Answer(status, headers, json.encode(body), reason=reason or REASONS.get(status, "refused"), detail=detail)


def _printable(text: str) -> str:
    """A function's words may hold lone surrogates, which no JSON text can (RFC 8259 §8.1)."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def identified(answer: Answer, request_id: str, settings: HttpSettings, more: HeaderLines = ()) -> Answer:
    """The same with `more` headers, and with X-Forklight-Id if answers have headers of ours."""
    ours = (id_header(request_id),) if settings.own_headers and request_id else ()
    return replace(answer, headers=answer.headers + more + ours)


def id_header(invocation_id: str) -> tuple[str, str]:
    """`X-Forklight-Id`, by which a client can name its call. A CloudEvent's own id may need percent-encoding."""
    is_plain = invocation_id.isascii() and invocation_id.isprintable()
    return "x-forklight-id", invocation_id if is_plain else quote(invocation_id, safe=_PLAIN, errors="replace")


NOTHING = Answer(0)
"""For what is said of any answer."""
BROKEN = replace(problem(500, "the server failed on this request"), last=True)
"""For a mistake of ours."""
FULL = problem(
    503, "the server has as many connections as it takes (max_connections)", headers=RETRY_SOON, reason="connections"
)
STOPPED = problem(503, "the server is stopping and could not wait for the outcome", headers=RETRY_SOON, reason=STOPPING)
UNREAD = problem(
    503, "the server holds as many unread answers as max_unread allows", headers=RETRY_SOON, reason="memory"
)
