"""Path templates: `/greet/{name}` is parsed into segments, each a literal or one typed parameter.

A parameter matches one whole segment that is not empty. Only `path` matches slashes; it comes last and may be empty.

    {name}        any text: percent-decoded UTF-8, so `%2F` becomes a slash in the value
    {id:int}      -?[0-9]{1,18}                    an int
    {price:float} -?[0-9]+ with optional fraction  a float; no exponent, no nan
    {u:uuid}      8-4-4-4-12 hexadecimal digits    a str in lower case
    {rest:path}   the rest of the path             a str
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from bus.hint import closest
from triggers.http.errors import RouteError
from triggers.http.settings import DEFAULT_METHODS, METHODS

KINDS = ("int", "float", "uuid", "str", "path")
"""The kinds of parameters, most specific first. A literal is more specific than any of them."""

PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([a-z]+))?\}", re.ASCII)
_FLASK = re.compile(r"<(?:(?P<kind>[a-z]+)(?:\([^)]*\))?:)?(?P<name>[A-Za-z_]\w*)>", re.ASCII)
_EXPRESS = re.compile(r"(?P<kind>):(?P<name>[A-Za-z_]\w*)", re.ASCII)
_INT = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_FLOAT = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

_VALUES: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "int": (_INT, int),
    "float": (_FLOAT, float),
    "uuid": (_UUID, str.lower),
}


class Segment(Struct, frozen=True):
    """A literal (`kind` is None and `text` the decoded literal), or a parameter of `kind` called `text`."""

    kind: str | None
    text: str


def parse_template(template: str) -> tuple[Segment, ...]:
    """Return the segments after the leading slash; `/` has one, the empty literal. Raises RouteError."""
    if "://" in template:
        path = "/" + template.partition("://")[2].partition("/")[2]
        raise RouteError(f'path {template!r} names a host, but a route has every host: write "{path}"')
    if not template.startswith("/"):
        raise RouteError(f'path {template!r} must start with a slash: write "/{template}"')
    if "?" in template or "#" in template or "%" in template:
        raise RouteError(f"path {template!r} contains a '?', '#' or '%': write it decoded, without query or fragment")
    texts = template[1:].split("/")
    segments = tuple(_parse_segment(template, text) for text in texts)
    _check_order(template, segments)
    return segments


def parse_short_form(text: str) -> tuple[tuple[str, ...], str]:
    """`GET /x` or `GET,POST /x` or `/x` → (methods, path). Raises RouteError."""
    words = text.split()
    if len(words) == 1:
        return DEFAULT_METHODS, words[0]
    if len(words) == 2:
        return check_methods(words[0].split(",")), words[1]
    raise RouteError(f"route {text!r} is not of the form 'GET /path' or '/path'")


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """Return the methods. Raises RouteError for an unknown one, a duplicate, or none at all."""
    for method in methods:
        if method not in METHODS:
            several = re.split(r"[|/;+]", method.upper())
            near = closest(method.upper(), METHODS)
            hint = f" (did you mean {near}?)" if near else ""
            if len(several) > 1 and set(several) <= set(METHODS):
                hint = f': write "{",".join(several)} /path"'
            raise RouteError(f"method {method!r} is not one of {', '.join(METHODS)}{hint}")
    if not methods or len(set(methods)) != len(methods):
        raise RouteError(f"methods {list(methods)!r} must name at least one, each once")
    return tuple(methods)


def convert(kind: str, segments: Sequence[str], index: int) -> Any:
    """Return the value of a parameter of `kind` at `index` of the decoded segments; None if it does not match."""
    if kind == "path":
        return "/".join(segments[index:])
    text = segments[index]
    if kind == "str":
        return text or None
    pattern, make = _VALUES[kind]
    return make(text) if pattern.fullmatch(text) else None


def _parse_segment(template: str, text: str) -> Segment:
    match = PARAMETER.fullmatch(text)
    if match is None:
        if "{" in text or "}" in text:
            raise RouteError(f"path {template!r}: segment {text!r} must be a literal or one whole '{{name:kind}}'")
        if meant := _foreign_parameter(text):
            raise RouteError(f"path {template!r}: a parameter is written in braces: write {meant} instead of {text}")
        if text in (".", ".."):
            raise RouteError(f"path {template!r}: no request can match the segment {text!r}")
        return Segment(None, text)
    kind = match[2] or "str"
    if kind not in KINDS:
        raise RouteError(f"path {template!r}: unknown kind {kind!r}, use one of {', '.join(KINDS)}")
    return Segment(kind, match[1])


def _foreign_parameter(text: str) -> str | None:
    """Return the parameter that a segment is in Flask (`<int:id>`), Express (`:id`) or a glob (`*`), or None."""
    if text in ("*", "**"):
        return "{rest:path}"
    found = _FLASK.fullmatch(text) or _EXPRESS.fullmatch(text)
    if found is None:
        return None
    kind = found["kind"] or ""
    kind = {"string": "str", "integer": "int"}.get(kind, kind)
    return f"{{{found['name']}{f':{kind}' if kind in KINDS else ''}}}"


def _check_order(template: str, segments: tuple[Segment, ...]) -> None:
    names = [segment.text for segment in segments if segment.kind]
    if len(set(names)) != len(names):
        raise RouteError(f"path {template!r} uses a parameter name twice")
    for segment in segments[:-1]:
        if segment.kind == "path":
            raise RouteError(f"path {template!r}: a 'path' parameter must be the last segment")
        if segment == Segment(None, ""):
            raise RouteError(f"path {template!r} has an empty segment ('//')")
