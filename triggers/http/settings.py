"""What can be set about the http trigger: the listener with its limits, and one route."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

MIB = 1024 * 1024

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What a route may name. CONNECT and TRACE are for proxies and are never a function's."""

DEFAULT_METHODS = tuple(method for method in METHODS if method != "OPTIONS")
"""OPTIONS is answered by the trigger itself unless a route names it."""


class StaticRoute(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The files of `dir` are served below `path`, which has no parameters."""

    path: str = ""
    """Required, as is `dir`; the defaults let their absence be told once."""
    dir: Path = Path()
    max_age_s: Annotated[float, Meta(ge=0)] | None = None
    """For how long a client may keep a file without asking again; None leaves it to the client."""


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener. Deadlines are kept by one sweep, so each may be late by up to a second, never early."""

    listen: str = "127.0.0.1:8080"
    """`host:port` or `[v6 address]:port`; port 0 takes any free one."""
    header_timeout_s: float = 10.0
    """From accepting a connection to its first byte, and from a request's first byte to the end of its headers."""
    body_timeout_s: float = 30.0
    """From the end of the headers to the end of the body."""
    idle_timeout_s: float = 60.0
    """Between two requests of a connection."""
    write_timeout_s: float = 30.0
    """How long a client may take to accept an answer."""
    max_connections: int = 4096
    """One more is answered 503 and closed."""
    max_line_bytes: int = 8190
    """Of the request target."""
    max_field_bytes: int = 8190
    """Of one header, name and value together."""
    max_headers: int = 128
    max_head_bytes: int = 64 * 1024
    """Of request line and headers together, when they do not come at once."""
    backlog: int = 1024
    drain_s: float = 30.0
    """How long requests in flight may take to finish once the server is told to end."""
    static: tuple[StaticRoute, ...] = ()


class Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests for `path` with one of `methods` become events of `function`; templates are explained in `templates`."""

    function: str
    path: str
    methods: tuple[str, ...] = DEFAULT_METHODS
    max_body_bytes: int = 1 * MIB
    decode: Literal["json", "text", "bytes"] | None = None
    timeout_s: float | None = None
    """How long the client waits at most, after which it gets 504; None leaves it to the function's own timeout."""
