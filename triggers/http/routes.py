"""Finds the route of a request. Paths are matched by decoded segments: `/gr%65et` is `/greet`, `%2F` splits nothing.

The most specific route that allows the method wins: segment by segment from the left, literal before `int`, `float`,
`uuid`, `str` and `path`. A trailing slash counts. An empty segment (`//`) matches only `path`. Segments `.` and `..`,
encoded or not and also between encoded slashes, are refused rather than resolved: a proxy in front may have checked
another path than the resolved one.

A folder of files is a route like any other, `/assets/{:path}` for GET and HEAD, but a function's route for the same
requests takes precedence.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from triggers.http.errors import RefusedError, RouteError
from triggers.http.settings import Route, StaticRoute
from triggers.http.templates import KINDS, Segment, check_methods, convert, parse_template


class Match(Struct, frozen=True):
    """The route of a request, and its typed parameters by name."""

    route: Route
    params: dict[str, Any] = {}


class StaticMatch(Struct, frozen=True):
    """The folder of a request, and the decoded path below it; None for the folder's own path without a slash."""

    route: StaticRoute
    rest: str | None


class Allowed(Struct, frozen=True):
    """The path has routes, but not for the method. `methods` is for the Allow header (RFC 9110 §10.2.1)."""

    methods: tuple[str, ...]


_Owner = tuple[Route | StaticRoute, tuple[str, ...]]
_FILE_METHODS = ("GET", "HEAD")


class _Node:
    """A node of the trie, one segment deep. `routes` maps a method to its route and the names of parameters."""

    __slots__ = ("branches", "literals", "routes")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.branches: dict[str, _Node] = {}
        self.routes: dict[str, _Owner] = {}


class RouteTable:
    """Immutable: to change routes, replace the whole table."""

    def __init__(self, routes: Sequence[Route], static: Sequence[StaticRoute] = ()) -> None:
        """Raises RouteError, which names the malformed route, or both routes that match the same requests."""
        self._root = _Node()
        self._literal: dict[str, dict[str, Match]] = {}
        self._methods: set[str] = set()
        for route in routes:
            self._add(route, parse_template(route.path))
        for folder in static:
            self._add_folder(folder)
        _sort_branches(self._root)

    def find(self, method: str, path: str) -> Match | StaticMatch | Allowed | None:
        """Find the route for `path` as received, without query; None if there is no such path.

        Raises RefusedError (400) for a malformed path.
        """
        by_method = self._literal.get(path)
        if by_method is not None and method in by_method:
            return by_method[method]
        if path == "*":
            return Allowed(_allow(self._methods))
        values: list[Any] = []
        allowed: set[str] = set()
        owner = _search(self._root, decode_segments(path), 0, method, values=values, allowed=allowed)
        if owner is not None:
            route, names = owner
            if isinstance(route, StaticRoute):
                return StaticMatch(route, values[0] if values else None)
            return Match(route, dict(zip(names, values, strict=True)))
        return Allowed(_allow(allowed)) if allowed else None

    def _add(self, route: Route, segments: tuple[Segment, ...]) -> None:
        node = self._node(segments)
        names = tuple(segment.text for segment in segments if segment.kind)
        for method in check_methods(route.methods):
            other = node.routes[method][0] if method in node.routes else None
            if isinstance(other, Route):
                _check_free(other, method, route)
            node.routes[method] = (route, names)
        _add_head(node)
        self._methods.update(node.routes)
        if not names:
            owners = ((method, owner) for method, (owner, _) in node.routes.items())
            self._literal[route.path] = {method: Match(owner) for method, owner in owners if isinstance(owner, Route)}

    def _add_folder(self, folder: StaticRoute) -> None:
        """Add a folder where no function has a route, so functions must be added first."""
        segments = parse_template(folder.path)
        if any(segment.kind for segment in segments):
            raise RouteError(f"path {folder.path!r} of static files cannot have parameters")
        base = segments[:-1] if segments[-1].text == "" else segments
        below = (*base, Segment("path", "file"))
        taken = 0
        for place in (below, base) if base else (below,):
            routes = self._node(place).routes
            for method in _FILE_METHODS:
                other = routes.setdefault(method, (folder, ()))[0]
                taken += isinstance(other, StaticRoute) and other is not folder
        if taken:
            raise RouteError(f"two folders of static files have the path {folder.path!r}")
        self._methods.update(_FILE_METHODS)

    def _node(self, segments: tuple[Segment, ...]) -> _Node:
        node = self._root
        for segment in segments:
            children, key = (node.literals, segment.text) if segment.kind is None else (node.branches, segment.kind)
            node = children.setdefault(key, _Node())
        return node


def decode_segments(path: str) -> list[str]:
    """`/a/b%2Fc` → `["a", "b/c"]`. Raises RefusedError (400) for bad escapes, bad UTF-8, NUL and dot segments."""
    if not path.startswith("/"):
        raise RefusedError(400, "the request target has no path")
    segments = path[1:].split("/")
    if "%" in path:
        segments = [_decode(segment) for segment in segments]
        parts = [part for segment in segments for part in segment.split("/")]
    else:
        parts = segments
    if "." in parts or ".." in parts:
        raise RefusedError(400, "the path contains a '.' or '..' segment; send it resolved")
    return segments


def _decode(segment: str) -> str:
    raw = unquote_to_bytes(segment)
    # unquote leaves a percent sign alone that does not start an escape.
    if len(segment) - len(raw) != 2 * segment.count("%"):
        raise RefusedError(400, "the path contains a '%' that is not followed by two hexadecimal digits")
    if b"\0" in raw:
        raise RefusedError(400, "the path contains an encoded NUL")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise RefusedError(400, "the path is not UTF-8 after percent-decoding") from None


def _search(
    node: _Node, segments: list[str], index: int, method: str, *, values: list[Any], allowed: set[str]
) -> _Owner | None:
    """Return the most specific route below `node`, or None. Parameters are added to `values`, methods to `allowed`.

    Each node of the trie is visited at most once, so a lookup costs at most the size of the table.
    """
    if index == len(segments):
        return _owner(node, method, allowed)
    text = segments[index]
    if text in node.literals:
        found = _search(node.literals[text], segments, index + 1, method, values=values, allowed=allowed)
        if found is not None:
            return found
    if not node.branches:
        return None
    for kind, branch in node.branches.items():
        value = convert(kind, segments, index)
        if value is None:
            continue
        values.append(value)
        if kind == "path":
            found = _owner(branch, method, allowed)
        else:
            found = _search(branch, segments, index + 1, method, values=values, allowed=allowed)
        if found is not None:
            return found
        values.pop()
    return None


def _owner(node: _Node, method: str, allowed: set[str]) -> _Owner | None:
    owner = node.routes.get(method)
    if owner is None:
        allowed.update(node.routes)
    return owner


def _sort_branches(node: _Node) -> None:
    node.branches = {kind: node.branches[kind] for kind in KINDS if kind in node.branches}
    for child in (*node.literals.values(), *node.branches.values()):
        _sort_branches(child)


def _check_free(other: Route, method: str, route: Route) -> None:
    # A HEAD that the other route has only because of its GET may be taken over.
    if method in other.methods:
        raise RouteError(
            f"{method} {route.path} of function {route.function!r} matches the same requests as "
            f"{other.path} of function {other.function!r}"
        )


def _add_head(node: _Node) -> None:
    """Answer HEAD from GET (RFC 9110 §9.3.2), unless a route of this path names HEAD."""
    if "GET" in node.routes and "HEAD" not in node.routes:
        node.routes["HEAD"] = node.routes["GET"]


def _allow(methods: set[str]) -> tuple[str, ...]:
    return tuple(sorted(methods | {"OPTIONS"}))
