"""Cross-origin requests (Fetch standard, "CORS protocol"): what browsers show to pages of other origins. Pure.

CORS does not protect a server: only browsers obey it.
"""

from msgspec.structs import replace

from triggers.http.answers import Answer, HeaderLines
from triggers.http.head import Head
from triggers.http.settings import Cors, Route


def requested_method(head: Head) -> str | None:
    """The method that a preflight asks for; None if this is not a preflight."""
    if head.method != "OPTIONS" or "origin" not in head.headers:
        return None
    return head.headers.get("access-control-request-method")


def preflight(head: Head, route: Route, cors: Cors) -> Answer:
    """Answer a preflight with 204. Its headers let the browser go on if the route allows the origin."""
    vary = _vary(cors, "access-control-request-headers" if cors.headers is None else "")
    origin = _allowed_origin(head, cors)
    if origin is None:
        return Answer(204, vary, reason="preflight")
    requested = head.headers.get("access-control-request-headers", "")
    names = requested if cors.headers is None else ", ".join(cors.headers)
    values = {
        "access-control-allow-methods": ", ".join(cors.methods or route.methods),
        "access-control-allow-headers": names,
        "access-control-max-age": str(int(cors.max_age_s)),
    }
    headers = (*_allowing(origin, cors), *((name, text) for name, text in values.items() if text), *vary)
    return Answer(204, headers, reason="preflight")


def with_cors(answer: Answer, head: Head, cors: Cors) -> Answer:
    """Add the CORS headers of the route, in place of any that the handler set."""
    headers = tuple(header for header in answer.headers if not header[0].lower().startswith("access-control-"))
    origin = _allowed_origin(head, cors)
    if origin is not None:
        headers += _allowing(origin, cors)
        if cors.expose:
            headers += (("access-control-expose-headers", ", ".join(cors.expose)),)
    return replace(answer, headers=headers + _vary(cors))


def _allowed_origin(head: Head, cors: Cors) -> str | None:
    """The origin to allow: that of the request, or `*`; None if it is not allowed."""
    if "*" in cors.origins:
        return "*"
    origin = head.headers.get("origin")
    return origin if origin in cors.origins else None


def _allowing(origin: str, cors: Cors) -> HeaderLines:
    allowed = (("access-control-allow-origin", origin),)
    return (*allowed, ("access-control-allow-credentials", "true")) if cors.credentials else allowed


def _vary(cors: Cors, *more: str) -> HeaderLines:
    """Sent to every origin, also a missing one: a cache must not serve that answer to an allowed one."""
    names = [*([] if "*" in cors.origins else ["origin"]), *filter(None, more)]
    return (("vary", ", ".join(names)),) if names else ()
