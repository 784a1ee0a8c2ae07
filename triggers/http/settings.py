"""What can be set about the http trigger: the listener with its limits, and one route."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from triggers.http.grammar import TOKEN

MIB = 1024 * 1024

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What a route may name. CONNECT and TRACE are for proxies and are never a function's."""

DEFAULT_METHODS = tuple(method for method in METHODS if method != "OPTIONS")
"""OPTIONS is answered by the trigger itself unless a route names it."""

UNIX = "unix"
"""Stands for whoever connects to a unix socket: they have no address, and its permissions say who may."""


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
                raise ValueError(f'is no network ({error}): write "10.0.0.0/8", an address, or "unix"') from None
        return cls(text)


class Cors(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pages of which other origins a browser may let see a route's answers."""

    origins: tuple[str, ...] = ()
    """`"https://shop.example"`, each with scheme and without a path, or `"*"`. Default: required."""
    methods: tuple[str, ...] = ()
    """What a preflight allows. Default: those of the route."""
    headers: tuple[str, ...] | None = None
    """Of requests, beyond what any page may send. Default: all that a browser asks for."""
    expose: tuple[str, ...] = ()
    """Headers of answers that a page may see, beyond the harmless ones."""
    credentials: bool = False
    """Whether cookies and client certificates may come along; not with `"*"`."""
    max_age_s: Annotated[float, Meta(ge=0)] = 600.0
    """How long a browser need not ask again."""

    def __post_init__(self) -> None:
        if not self.origins:
            raise ValueError('origins is missing: write origins = ["https://app.example"]')
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f'"{origin}" is no origin: write scheme and host, such as "https://app.example"')
        if self.credentials and "*" in self.origins:
            raise ValueError('credentials cannot go with the origin "*", which browsers refuse: name the origins')
        for method in self.methods:
            if method not in METHODS:
                raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
        for name in (*(self.headers or ()), *self.expose):
            if not TOKEN.fullmatch(name):
                raise ValueError(f'"{name}" is no name of a header')


class StaticRoute(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The files of `dir` are served below `path`, which has no parameters."""

    path: str = ""  # the defaults of `path` and `dir` let their absence be told once
    """What the files are served below, such as `"/assets"`. Default: required."""
    dir: Path = Path()
    """The folder they are in. Default: required."""
    max_age_s: Annotated[float, Meta(ge=0)] | None = None
    """For how long a client may keep a file without asking again. Default: as the client thinks."""


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener. Deadlines are kept by one sweep, so each may be late by up to a second, never early."""

    listen: str = "127.0.0.1:8080"
    """`host:port` or `[v6 address]:port`, port 0 takes any free one; or `unix:/path`."""
    header_timeout_s: float = 10.0
    """From accepting a connection to its first byte, and from a request's first byte to the end of its headers."""
    body_timeout_s: float = 30.0
    """How long nothing may come of a body that is not complete."""
    idle_timeout_s: float = 75.0
    """Between two requests of a connection. Longer than the 60 s of nginx and of AWS's load balancers: whoever keeps
    connections open must be the first to close them, or a request may meet a closed one."""
    write_timeout_s: float = 30.0
    """How long a client may read nothing of its answer."""
    min_rate_bytes: Annotated[int, Meta(gt=0)] = 500
    """A second: a body that comes more slowly on the whole is too slow, and so is a client that reads more slowly. The
    timeouts above are its credit."""
    half_closed_timeout_s: float = 10.0
    """How long a client that sends no more may wait for its answer. TCP does not tell it from one that has left."""
    max_connections: int = 4096
    """One more is answered 503 and closed."""
    max_bodies_bytes: Annotated[int, Meta(gt=0)] = 256 * MIB
    """Of all requests' bodies at once, from their first byte to their answer; the first 64 KiB of each are free. Beyond
    it, requests are answered 503. One that is alone may be larger."""
    max_unread_bytes: Annotated[int, Meta(gt=0)] = 256 * MIB
    """The same for answers that their clients have not read."""
    max_line_bytes: int = 8190
    """Of the request target (414)."""
    max_field_bytes: int = 8190
    """Of one header, name and value together (431)."""
    max_headers: int = 128
    """Of one request (431)."""
    max_head_bytes: int = 64 * 1024
    """Of request line and headers together (431)."""
    backlog: int = 1024
    """Connections that the kernel keeps waiting to be accepted."""
    drain_s: float = 30.0
    """How long requests in flight may take to finish once the server is told to end."""
    own_headers: bool = True
    """Whether answers have `X-Forklight-Id`, `X-Forklight-Start` and `Server-Timing`."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose `X-Forwarded-*` headers are believed: `["10.0.0.0/8", "unix"]`."""
    static: tuple[StaticRoute, ...] = ()
    """Files of folders."""


class Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests for `path` with one of `methods` become events of `function`; templates are explained in `templates`."""

    function: str
    path: str
    methods: tuple[str, ...] = DEFAULT_METHODS
    max_body_bytes: int = 1 * MIB
    decode: Literal["json", "text", "bytes"] | None = None
    timeout_s: float | None = None
    """How long the client waits at most, after which it gets 504; None leaves it to the function's own timeout."""
    cors: Cors | None = None
    auth: Literal["key"] | None = None
    """`key`: only requests that bring one of the keys of `keys.py` become events."""
