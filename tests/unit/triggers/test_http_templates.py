import pytest

from triggers.http.errors import RouteError
from triggers.http.settings import DEFAULT_METHODS
from triggers.http.templates import Segment, check_methods, convert, parse_short_form, parse_template


@pytest.mark.parametrize(
    ("template", "segments"),
    [
        ("/", (Segment(None, ""),)),
        ("/greet/{name}", (Segment(None, "greet"), Segment("str", "name"))),
        ("/a/{id:int}/b", (Segment(None, "a"), Segment("int", "id"), Segment(None, "b"))),
        ("/{rest:path}", (Segment("path", "rest"),)),
        ("/a/", (Segment(None, "a"), Segment(None, ""))),
        ("/café", (Segment(None, "café"),)),
    ],
)
def test_template(template: str, segments: tuple[Segment, ...]) -> None:
    assert parse_template(template) == segments


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("greet", "start with a slash"),
        ("", "start with a slash"),
        ("/a?b", "decoded"),
        ("/a%20b", "decoded"),
        ("/a//b", "empty segment"),
        ("/{a}.json", "one whole"),
        ("/{a", "one whole"),
        ("/{1a}", "one whole"),
        ("/{}", "one whole"),
        ("/{a:date}", "unknown kind 'date'"),
        ("/{a}/{a:int}", "name twice"),
        ("/{a:path}/b", "last segment"),
        ("/a/../b", "no request can match"),
    ],
)
def test_malformed_template_says_what_is_wrong(template: str, reason: str) -> None:
    with pytest.raises(RouteError, match=reason):
        parse_template(template)


def test_short_forms() -> None:
    assert parse_short_form("/x") == (DEFAULT_METHODS, "/x")
    assert parse_short_form("GET /x") == (("GET",), "/x")
    assert parse_short_form("GET,POST /x/{y}") == (("GET", "POST"), "/x/{y}")


@pytest.mark.parametrize("text", ["", "GET POST /x", "get /x", "TRACE /x", "GET,GET /x"])
def test_malformed_short_form(text: str) -> None:
    with pytest.raises(RouteError):
        parse_short_form(text)


def test_a_route_needs_a_method() -> None:
    with pytest.raises(RouteError, match="at least one"):
        check_methods([])


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "7", 7),
        ("int", "-007", -7),
        ("int", "+7", None),
        ("int", "7.0", None),
        ("int", "\u0667", None),
        ("int", "1" * 19, None),
        ("float", "7", 7.0),
        ("float", "-0.5", -0.5),
        ("float", "1e5", None),
        ("float", "nan", None),
        ("float", ".5", None),
        ("uuid", "2F1B8A6C-0000-4000-8000-0123456789AB", "2f1b8a6c-0000-4000-8000-0123456789ab"),
        ("uuid", "2f1b8a6c00004000800001234567 89ab", None),
        ("str", "a/b", "a/b"),
        ("str", "", None),
        ("path", "", ""),
    ],
)
def test_convert(kind: str, text: str, value: object) -> None:
    assert convert(kind, [text], 0) == value
