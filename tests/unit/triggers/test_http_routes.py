import re
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.http.errors import RefusedError, RouteError
from triggers.http.routes import Allowed, Match, RouteTable, StaticMatch, decode_segments
from triggers.http.settings import Route
from triggers.http.templates import KINDS, parse_template


def table(*short: str) -> RouteTable:
    """`GET /x` → a route of a function named `GET /x`."""
    return RouteTable([Route(function=text, methods=(text.split()[0],), path=text.split()[1]) for text in short])


def winner(routes: RouteTable, method: str, path: str) -> tuple[str, dict[str, Any]] | Allowed | None:
    found = routes.find(method, path)
    assert not isinstance(found, StaticMatch)
    return (found.route.function, found.params) if isinstance(found, Match) else found


EVERY_KIND = table(
    "GET /a/{x:path}", "GET /a/{x}", "GET /a/{x:uuid}", "GET /a/{x:float}", "GET /a/{x:int}", "GET /a/b", "GET /a/"
)


@pytest.mark.parametrize(
    ("path", "function", "params"),
    [
        ("/a/b", "GET /a/b", {}),
        ("/a/%62", "GET /a/b", {}),
        ("/a/12", "GET /a/{x:int}", {"x": 12}),
        ("/a/1.5", "GET /a/{x:float}", {"x": 1.5}),
        (
            "/a/" + "0" * 8 + "-0000-0000-0000-" + "0" * 12,
            "GET /a/{x:uuid}",
            {"x": "00000000-0000-0000-0000-000000000000"},
        ),
        ("/a/ada", "GET /a/{x}", {"x": "ada"}),
        ("/a/b%2Fc", "GET /a/{x}", {"x": "b/c"}),
        ("/a/caf%C3%A9", "GET /a/{x}", {"x": "café"}),
        ("/a/b/c", "GET /a/{x:path}", {"x": "b/c"}),
        ("/a/b/", "GET /a/{x:path}", {"x": "b/"}),
        ("/a//b", "GET /a/{x:path}", {"x": "/b"}),
        ("/a/", "GET /a/", {}),
    ],
)
def test_the_most_specific_route_wins(path: str, function: str, params: dict[str, Any]) -> None:
    assert winner(EVERY_KIND, "GET", path) == (function, params)


def test_a_less_specific_route_gets_the_other_methods() -> None:
    routes = table("POST /a/b", "GET /a/{x}", "DELETE /{rest:path}")
    assert winner(routes, "GET", "/a/b") == ("GET /a/{x}", {"x": "b"})
    assert winner(routes, "DELETE", "/a/b") == ("DELETE /{rest:path}", {"rest": "a/b"})
    assert winner(routes, "PUT", "/a/b") == Allowed(("DELETE", "GET", "HEAD", "OPTIONS", "POST"))


def test_the_search_backtracks() -> None:
    routes = table("GET /a/{x:int}/b", "GET /a/{x}/c", "GET /{y}/1/d")
    assert winner(routes, "GET", "/a/1/b") == ("GET /a/{x:int}/b", {"x": 1})
    assert winner(routes, "GET", "/a/1/c") == ("GET /a/{x}/c", {"x": "1"})
    assert winner(routes, "GET", "/a/1/d") == ("GET /{y}/1/d", {"y": "a"})
    assert winner(routes, "GET", "/a/1/e") is None


@pytest.mark.parametrize("path", ["/a", "/a/b/", "/A/b", "//a/b", "/a//b", "/", "/a/b/c"])
def test_slashes_and_case_count(path: str) -> None:
    assert table("GET /a/b").find("GET", path) is None


def test_a_path_parameter_may_be_empty_and_takes_the_root() -> None:
    assert winner(table("GET /{rest:path}"), "GET", "/") == ("GET /{rest:path}", {"rest": ""})


def test_head_is_get_unless_a_route_names_it() -> None:
    assert winner(table("GET /a"), "HEAD", "/a") == ("GET /a", {})
    assert winner(table("GET /a", "HEAD /a"), "HEAD", "/a") == ("HEAD /a", {})
    assert winner(table("HEAD /a", "GET /a"), "HEAD", "/a") == ("HEAD /a", {})


def test_the_trigger_answers_options_unless_a_route_names_it() -> None:
    assert table("POST /a").find("OPTIONS", "/a") == Allowed(("OPTIONS", "POST"))
    assert winner(table("OPTIONS /a"), "OPTIONS", "/a") == ("OPTIONS /a", {})
    assert table("POST /a", "GET /b").find("OPTIONS", "*") == Allowed(("GET", "HEAD", "OPTIONS", "POST"))


@pytest.mark.parametrize(
    "path",
    ["/a/..", "/../a", "/a/./b", "/a/%2e%2E", "/a/x%2F..%2Fy", "/%", "/%zz", "/%2", "/a%00b", "/%ff", "a", ""],
)
def test_an_ambiguous_path_is_refused(path: str) -> None:
    with pytest.raises(RefusedError) as refused:
        EVERY_KIND.find("GET", path)
    assert refused.value.status == 400


@pytest.mark.parametrize("path", ["/...", "/.a", "/a..b", "/%2e%2e%2e"])
def test_dots_in_a_name_are_allowed(path: str) -> None:
    assert winner(table("GET /{x}"), "GET", path) == ("GET /{x}", {"x": decode_segments(path)[0]})


@pytest.mark.parametrize(
    ("one", "other"), [("/a/{x}", "/a/{y}"), ("/a", "/a"), ("/{x:int}/b", "/{y:int}/b"), ("/{x:path}", "/{y:path}")]
)
def test_two_routes_for_the_same_requests_are_an_error_that_names_both(one: str, other: str) -> None:
    with pytest.raises(RouteError, match=r"GET .* of function 'b' matches the same requests as .* of function 'a'"):
        RouteTable([Route(function="a", path=one), Route(function="b", path=other, methods=("GET",))])


def test_two_functions_may_share_a_path_by_method() -> None:
    routes = table("GET /a", "POST /a")
    assert winner(routes, "POST", "/a") == ("POST /a", {})


SEGMENTS = st.sampled_from(["a", "b", "1", "1.5", "", "{p}", "{p:int}", "{p:float}", "{p:path}"])
PATTERNS = {"int": r"-?[0-9]+", "float": r"-?[0-9]+(?:\.[0-9]+)?", "uuid": r"(?!)", "str": r"[^/]+", "path": r".*"}


@st.composite
def templates(draw: st.DrawFn) -> str:
    inner = draw(st.lists(SEGMENTS.filter(lambda text: text and ":path" not in text), max_size=3))
    return "/" + "/".join(
        part.replace("p", f"p{i}", 1) if "{" in part else part for i, part in enumerate([*inner, draw(SEGMENTS)])
    )


def rank(template: str) -> list[int]:
    return [-1 if segment.kind is None else KINDS.index(segment.kind) for segment in parse_template(template)]


def pattern(template: str) -> re.Pattern[str]:
    return re.compile(
        "/"
        + "/".join(re.escape(s.text) if s.kind is None else f"({PATTERNS[s.kind]})" for s in parse_template(template))
    )


def naive(routes: list[Route], method: str, path: str) -> Route | None:
    """The naive matcher: every route as a regular expression; of those that match, the lowest rank wins."""
    fitting = [route for route in routes if method in route.methods and pattern(route.path).fullmatch(path)]
    return min(fitting, key=lambda route: rank(route.path), default=None)


@pytest.mark.invariant("I22")
@given(
    st.lists(st.tuples(templates(), st.sampled_from([("GET",), ("POST",), ("GET", "POST")])), max_size=6),
    st.sampled_from(["GET", "POST"]),
    st.lists(st.sampled_from(["a", "b", "c", "1", "2", "1.5", ""]), max_size=4),
)
def test_lookup_equals_a_naive_matcher(
    shapes: list[tuple[str, tuple[str, ...]]], method: str, segments: list[str]
) -> None:
    routes = [Route(function=str(i), path=path, methods=methods) for i, (path, methods) in enumerate(shapes)]
    routes = [
        route for i, route in enumerate(routes) if not any(rank_of(route) == rank_of(earlier) for earlier in routes[:i])
    ]
    path = "/" + "/".join(segments)
    expected = naive(routes, method, path)
    found = RouteTable(routes).find(method, path)
    assert (found.route if isinstance(found, Match) else None) == expected
    if found is None:
        assert not any(pattern(route.path).fullmatch(path) for route in routes)


def rank_of(route: Route) -> list[tuple[str | None, str]]:
    """Two templates are the same if their kinds and literals are."""
    return [(s.kind, s.text if s.kind is None else "") for s in parse_template(route.path)]


@pytest.mark.invariant("I22")
@given(st.text(max_size=40))
def test_any_text_is_found_not_found_or_refused(path: str) -> None:
    status, found = 0, None
    try:
        found = EVERY_KIND.find("GET", path)
    except RefusedError as refused:
        status = refused.status
    assert status in (0, 400)
    assert not found or path.startswith("/a/") or "%" in path or path == "*"


def test_a_deep_table_is_looked_up_without_trying_every_combination() -> None:
    depth = 16
    shapes = list(combinations(range(depth), 2))
    routes = [
        Route(function="f", path="/" + "/".join(f"{{p{i}:int}}" if i in pair else f"{{p{i}}}" for i in range(depth)))
        for pair in shapes
    ]
    found = RouteTable(routes).find("GET", "/" + "/".join(["1"] * depth))
    assert isinstance(found, Match)
    assert found.route.path.startswith("/{p0:int}/{p1:int}/{p2}")
