"""The settings of the http trigger: the listener with its limits, and one route."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from triggers.http.grammar import TOKEN

MIB = 1024 * 1024

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods that a route may name. CONNECT and TRACE are for proxies, never for functions."""

DEFAULT_METHODS = tuple(method for method in METHODS if method != "OPTIONS")
"""The trigger answers OPTIONS itself unless a route names it."""

UNIX = "unix"
"""Stands for every peer on a unix socket: such peers have no address, and the socket's permissions admit them."""


class Network(str):
    """Peers: `10.0.0.0/8`, a single address, or `unix`."""

    __slots__ = ()
    example: ClassVar[str] = "10.0.0.0/8"

    @classmethod
    def parse(cls, text: str) -> "Network":
        """Raises ValueError."""
        if text != UNIX:
            try:
                ip_network(text)
            except ValueError as error:
                raise ValueError(f'is not a network ({error}): write "10.0.0.0/8", an address, or "unix"') from None
        return cls(text)


class Cors(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pages of other origins may read a route's answers, as browsers enforce it."""

    origins: tuple[str, ...] = ()
    """`"https://shop.example"`, each with scheme and without a path, or `"*"`. Default: required."""
    methods: tuple[str, ...] = ()
    """Methods that a preflight allows. Default: those of the route."""
    headers: tuple[str, ...] | None = None
    """Request headers that a page may send, beyond those that any page may. Default: all that the browser asks for."""
    expose: tuple[str, ...] = ()
    """Response headers that a page may read, beyond those that any page may."""
    credentials: bool = False
    """Whether requests may carry cookies and client certificates; not with `"*"`."""
    max_age_s: Annotated[float, Meta(ge=0)] = 600.0
    """How long a browser may cache the answer to a preflight."""

    def __post_init__(self) -> None:
        if not self.origins:
            raise ValueError('origins is missing: write origins = ["https://app.example"]')
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f'"{origin}" is not an origin: write scheme and host, such as "https://app.example"')
        if self.credentials and "*" in self.origins:
            raise ValueError(
                'credentials cannot be combined with the origin "*", which browsers refuse: list the origins'
            )
        for method in self.methods:
            if method not in METHODS:
                raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
        for name in (*(self.headers or ()), *self.expose):
            if not TOKEN.fullmatch(name):
                raise ValueError(f'"{name}" is not the name of a header')


class StaticRoute(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Serves the files of `dir` below `path`, which has no parameters."""

    path: str = ""  # `path` and `dir` have defaults so that their absence is reported once
    """The path below which the files are served, such as `"/assets"`. Default: required."""
    dir: Path = Path()
    """The folder of the files. Default: required."""
    max_age_s: Annotated[float, Meta(ge=0)] | None = None
    """How long a client may cache a file. Default: the client decides."""


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener. One sweep enforces all deadlines, so each may be up to a second late, never early."""

    listen: str = "127.0.0.1:8080"
    """`host:port`, `[IPv6 address]:port` or `unix:/path`. Port 0 is any free port."""
    header_timeout_s: float = 10.0
    """From accepting a connection to its first byte, and from a request's first byte to the end of its headers."""
    body_timeout_s: float = 30.0
    """How long a client may pause while it sends a body."""
    idle_timeout_s: float = 75.0
    """Between two requests of a connection. Longer than the 60 s of nginx and of AWS's load balancers: the client must
    be the first to close an idle connection, or a request may meet a closed one."""
    write_timeout_s: float = 30.0
    """How long a client may pause while it reads an answer."""
    min_rate_bytes: Annotated[int, Meta(gt=0)] = 500
    """The lowest average rate, in bytes a second, of a client that sends a body or reads an answer. The timeouts above
    are its credit."""
    half_closed_timeout_s: float = 10.0
    """How long a half-closed client may wait for its answer. Over TCP, a client that has left looks the same."""
    max_connections: int = 4096
    """Any further connection gets 503 and is closed."""
    max_bodies_bytes: Annotated[int, Meta(gt=0)] = 256 * MIB
    """Memory for the bodies of all requests together, from their first byte to their answer. The first 64 KiB of each
    do not count. Requests beyond it get 503, but a single body may be larger."""
    max_unread_bytes: Annotated[int, Meta(gt=0)] = 256 * MIB
    """The same for answers that clients have not read."""
    max_line_bytes: int = 8190
    """The longest request target (else 414)."""
    max_field_bytes: int = 8190
    """The longest header, name and value together (else 431)."""
    max_headers: int = 128
    """The most headers of a request (else 431)."""
    max_head_bytes: int = 64 * 1024
    """The longest request line and headers together (else 431)."""
    backlog: int = 1024
    """How many connections the kernel queues for the server to accept."""
    drain_s: float = 30.0
    """How long requests in flight may take to finish when the server stops."""
    own_headers: bool = True
    """Whether answers have `X-Forklight-Id`, `X-Forklight-Start` and `Server-Timing`."""
    version_header: bool = False
    """Whether answers of functions have `X-Forklight-Version`: the number of the deployed version that ran, or of a
    function that was not deployed the hash of its version, as `forklight ps` shows it."""
    trusted_proxies: tuple[Network, ...] = ()
    """Peers whose `X-Forwarded-*` headers are trusted: `["10.0.0.0/8", "unix"]`."""
    static: tuple[StaticRoute, ...] = ()
    """Folders of static files."""


class Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests for `path`, a template as in `templates.py`, with one of `methods` become events of `function`."""

    function: str
    path: str
    methods: tuple[str, ...] = DEFAULT_METHODS
    max_body_bytes: int = 1 * MIB
    decode: Literal["json", "text", "bytes"] | None = None
    timeout_s: float | None = None
    """After this the client gets 504. None: only the function's own timeout applies."""
    cors: Cors | None = None
    auth: Literal["key"] | None = None
    """`key`: only requests with a valid key (`policy/keys.py`) become events."""
    scopes: tuple[str, ...] = ()
    """The key must have all of these (`policy/scopes.py`)."""
