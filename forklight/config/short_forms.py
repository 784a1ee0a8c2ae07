"""Triggers and code written as one string, or a list of strings, expanded into the tables that they mean."""

from collections.abc import Callable
from typing import Any

from forklight.config.document import Node
from forklight.config.problem import Problem
from triggers.http import RouteError
from triggers.http.templates import parse_short_form


def _http(text: str) -> dict[str, Any]:
    try:
        methods, path = parse_short_form(text)
    except RouteError as error:
        raise ValueError(str(error)) from None
    return {"path": path, "methods": list(methods)}


_LONG_FORMS: dict[str, Callable[[str], dict[str, Any]]] = {
    "http": _http,
    "queue": lambda text: {"queue": text},
    "timer": lambda text: {"schedule": text},
}
"""By the key of a function. Each raises ValueError for a string that it cannot read."""


def with_long_forms(function: Node, problems: list[Problem]) -> Node:
    """Return the function's node with `http = "GET /x"`, `queue = "orders"` and the like written out as tables."""
    if not isinstance(function.value, dict):
        return function
    keys = dict(function.value)
    for key, long_form in _LONG_FORMS.items():
        if key in keys:
            keys[key] = _tables(keys[key], long_form, problems)
    if "code" in keys:
        keys["code"] = long_code(keys["code"], problems)
    if "http" in keys:
        keys["http"] = _at(keys["http"], [_with_origins(table) for table in keys["http"].value])
    return Node(keys, function.file, function.key, function.line)


def long_code(code: Node, problems: list[Problem]) -> Node:
    """`code = "src"` is its path, and a header that is a string is its value."""
    if isinstance(code.value, str):
        if code.value.startswith(("https://", "http://")):
            problems.append(code.problem(f'needs a hash: write code = {{ url = "{code.value}", sha256 = "..." }}'))
            return _at(code, {})
        return _at(code, {"path": code})
    headers = code.value.get("headers") if isinstance(code.value, dict) else None
    if headers is None or not isinstance(headers.value, dict):
        return code
    long = {
        name: _at(one, {"value": one}) if isinstance(one.value, str) else one for name, one in headers.value.items()
    }
    return _at(code, code.value | {"headers": _at(headers, long)})


def _tables(written: Node, long_form: Callable[[str], dict[str, Any]], problems: list[Problem]) -> Node:
    items = written.value if isinstance(written.value, list) else [written]
    tables = []
    for item in items:
        try:
            tables.append(_node(long_form(item.value), item) if isinstance(item.value, str) else item)
        except ValueError as error:
            problems.append(item.problem(str(error)))
    return Node(tables, written.file, written.key, written.line)


def _with_origins(route: Node) -> Node:
    """`cors = "*"` or a list of origins is a table of its `origins`."""
    cors = route.value.get("cors") if isinstance(route.value, dict) else None
    if not isinstance(cors, Node) or not isinstance(cors.value, str | list):
        return route
    origins = [cors] if isinstance(cors.value, str) else cors.value
    table = _at(cors, {"origins": _at(cors, origins)})
    return _at(route, route.value | {"cors": table})


def _at(place: Node, value: Any) -> Node:
    return Node(value, place.file, place.key, place.line)


def _node(value: Any, place: Node) -> Node:
    """Return the long form. Each part of it has the place of the short form."""
    if isinstance(value, dict):
        value = {name: _node(one, place) for name, one in value.items()}
    elif isinstance(value, list):
        value = [_node(one, place) for one in value]
    return Node(value, place.file, place.key, place.line)
