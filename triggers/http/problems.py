"""Answers without a function behind them: refusals, missing routes, a full or stopping server. Pure.

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
    403: "scope",
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
"""The default reason, for logs and metrics, of a status that the trigger chose."""

STOPPING = "stopping"
"""The reason of a 503 because the server is stopping."""

_PLAIN = "!#$&'()*+,/:;<=>?@[]^`{|}"


def refusal(refused: RefusedError) -> Answer:
    """Answer a request that did not become an event."""
    answer = problem(refused.status, refused.detail, headers=refused.headers, reason=refused.reason)
    return replace(answer, last=refused.last)


def no_route(method: str, found: Allowed | None) -> Answer:
    """404, 405, or 204 for an OPTIONS that no route takes. The last two have Allow (RFC 9110 §15.5.6)."""
    if found is None:
        return problem(404, "no function has this path")
    allow = ("allow", ", ".join(found.methods))
    if method == "OPTIONS":
        return Answer(204, (allow,), reason="options")
    return problem(405, f"this path allows {allow[1]}", headers=(allow,))


def problem(
    status: int,
    detail: str,
    *,
    members: dict[str, str] | None = None,
    headers: HeaderLines = (),
    reason: str = "",
) -> Answer:
    """`application/problem+json` (RFC 9457) with type, title, status, detail and `members`.

    `reason` is for the record; default: as in REASONS.
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": _printable(detail)}
    for name, text in (members or {}).items():
        body[name] = _printable(text)
    headers = (("content-type", "application/problem+json"), *headers)
    return Answer(status, headers, json.encode(body), reason=reason or REASONS.get(status, "refused"), detail=detail)


def _printable(text: str) -> str:
    """Replace lone surrogates, which a function's message may contain but JSON cannot (RFC 8259 §8.1)."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def identified(answer: Answer, request_id: str, settings: HttpSettings, more: HeaderLines = ()) -> Answer:
    """Add `more` headers, and X-Forklight-Id if `own_headers` is set."""
    ours = (id_header(request_id),) if settings.own_headers and request_id else ()
    return replace(answer, headers=answer.headers + more + ours)


def id_header(invocation_id: str) -> tuple[str, str]:
    """`X-Forklight-Id`. The id of a CloudEvent is the sender's, and may need percent-encoding."""
    is_plain = invocation_id.isascii() and invocation_id.isprintable()
    return "x-forklight-id", invocation_id if is_plain else quote(invocation_id, safe=_PLAIN, errors="replace")


NOTHING = Answer(0)
"""A placeholder, for headers that every answer gets."""
BROKEN = replace(problem(500, "the server failed to handle this request"), last=True)
"""For an error in the server itself."""
FULL = problem(
    503, "the server has reached its limit of connections (max_connections)", headers=RETRY_SOON, reason="connections"
)
STOPPED = problem(
    503, "the server is stopping and could not wait for the function", headers=RETRY_SOON, reason=STOPPING
)
UNREAD = problem(503, "the server holds too many unread answers (max_unread)", headers=RETRY_SOON, reason="memory")
