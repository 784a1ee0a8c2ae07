"""The http keys of a function, and the routes of all functions checked together."""

import os
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from forklight.config.document import Node
from forklight.config.problem import Problem
from triggers.http import Cors, HttpSettings, ListenError, Route, RouteError, RouteTable, StaticRoute
from triggers.http.policy.scopes import check_scopes
from triggers.http.settings import DEFAULT_METHODS, MIB
from triggers.http.socket.bind import parse_listen, unix_path
from triggers.http.templates import check_methods, parse_template


class RouteSettings(Struct, frozen=True, kw_only=True):
    """One `[[functions.x.http]]` table."""

    example: ClassVar[str] = 'http = "GET /orders"'
    path: str = ""  # with a default, its absence is reported only once
    """Such as `"/orders/{id:int}"`. Default: required."""
    methods: tuple[str, ...] = DEFAULT_METHODS
    """Such as `["GET", "POST"]`. Default: all but OPTIONS."""
    max_body_bytes: Annotated[int, Meta(ge=0)] = MIB
    """A larger body is refused (413)."""
    decode: Literal["json", "text", "bytes"] | None = None
    """How the body is decoded. Default: by its content type."""
    timeout_s: float | None = None
    """How long the client waits at most (504). Default: the function's."""
    cors: Cors | None = None
    """Also `"*"` or a list of origins alone: the origins whose pages may read the answers."""
    auth: Literal["key"] | None = None
    """Requests must bring a key."""
    scopes: tuple[str, ...] = ()
    """The key must have all of these scopes (403), such as `["orders:read"]`; needs `auth`."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError('path is missing: write path = "/hello"')
        try:
            parse_template(self.path)
            check_methods(self.methods)
        except RouteError as error:
            raise ValueError(str(error)) from None
        if self.scopes and self.auth is None:
            raise ValueError('scopes are those of a key, which only auth = "key" requires: write both, or neither')
        check_scopes(self.scopes)


def routes_of(
    functions: dict[str, tuple[RouteSettings, ...]], root: Node, problems: list[Problem]
) -> tuple[Route, ...]:
    """Return all functions' routes. A route that takes requests of an earlier one is a problem."""
    places = {
        (name, index): Route(function=name, **asdict(one))
        for name, settings in functions.items()
        for index, one in enumerate(settings)
    }
    try:
        RouteTable(list(places.values()))
    except RouteError:  # find which by adding one at a time, which is slow for hundreds
        return _accepted(places, root, problems)
    return tuple(places.values())


def _accepted(places: dict[tuple[str, int], Route], root: Node, problems: list[Problem]) -> tuple[Route, ...]:
    accepted: list[Route] = []
    for (name, index), route in places.items():
        try:
            RouteTable([*accepted, route])
        except RouteError as error:
            problems.append(_place(root, name, index).problem(str(error)))
        else:
            accepted.append(route)
    return tuple(accepted)


def _place(root: Node, function: str, index: int) -> Node:
    http = root.at("functions").at(function).at("http")
    return http.value[index] if isinstance(http.value, list) and index < len(http.value) else http


def check_listen(settings: HttpSettings, root: Node, problems: list[Problem]) -> None:
    """Check that `[http] listen` is an address or the path of a unix socket."""
    try:
        if unix_path(settings.listen) is None:
            parse_listen(settings.listen)
    except ListenError as error:
        problems.append(root.at("http").at("listen").problem(str(error)))


def check_static(settings: HttpSettings, root: Node, problems: list[Problem]) -> None:
    """Check that each `[[http.static]]` has a path of its own and a folder that exists."""
    accepted: list[StaticRoute] = []
    for index, one in enumerate(settings.static):
        table = _static_place(root, index)
        if not one.path:
            problems.append(table.problem('path is missing: write path = "/assets"'))
        elif "dir" not in table.value:
            problems.append(table.problem('dir is missing: write dir = "public"'))
        elif not os.path.isdir(one.dir):
            problems.append(table.at("dir").problem(f"there is no directory {one.dir}"))
        else:
            try:
                RouteTable((), [*accepted, one])
            except RouteError as error:
                problems.append(table.at("path").problem(str(error)))
            else:
                accepted.append(one)


def _static_place(root: Node, index: int) -> Node:
    tables: Node = root.at("http").at("static").value[index]
    return tables


def told(route: Route) -> str:
    """Return `GET,POST /greet/{name}`, or only the path if it takes every method."""
    return route.path if route.methods == DEFAULT_METHODS else f"{','.join(route.methods)} {route.path}"
