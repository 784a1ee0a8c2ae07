"""The http keys: what they become, and every mistake in its place."""

from pathlib import Path

import pytest

from forklight.config.configuration import load
from forklight.config.http import told
from forklight.config.problem import ConfigError
from triggers.http import Cors, Route
from triggers.http.settings import DEFAULT_METHODS, MIB

HANDLER = 'handler = "f:h"\n'
_SCOPES = '[[functions.f.http]]\npath = "/x"\nauth = "key"\nscopes = [%s]'


def _routes(folder: Path, toml: str) -> tuple[Route, ...]:
    (folder / "forklight.toml").write_text(toml)
    return load(folder, {}).routes


def _problems(folder: Path, toml: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _routes(folder, toml)
    return [str(problem).replace(f"{folder}/forklight.toml:", "") for problem in caught.value.problems]


def test_short_forms_and_a_list_of_them(tmp_path: Path) -> None:
    toml = f'[functions.f]\n{HANDLER}http = "GET,POST /a/{{id:int}}"\n[functions.g]\n{HANDLER}http = ["/b", "PUT /c"]\n'
    routes = _routes(tmp_path, toml)
    assert [(route.function, route.path, route.methods) for route in routes] == [
        ("f", "/a/{id:int}", ("GET", "POST")),
        ("g", "/b", DEFAULT_METHODS),
        ("g", "/c", ("PUT",)),
    ]
    assert [told(route) for route in routes] == ["GET,POST /a/{id:int}", "/b", "PUT /c"]


def test_the_long_form_says_more(tmp_path: Path) -> None:
    toml = f"""[functions.f]
{HANDLER}
[[functions.f.http]]
path = "/upload"
methods = ["POST"]
max_body = "10MiB"
decode = "bytes"
timeout = "2s"
[[functions.f.http]]
path = "/"
"""
    assert _routes(tmp_path, toml) == (
        Route(function="f", path="/upload", methods=("POST",), max_body_bytes=10 * MIB, decode="bytes", timeout_s=2.0),
        Route(function="f", path="/"),
    )


def test_cors_is_said_in_three_ways(tmp_path: Path) -> None:
    one, two, three = (f"[[functions.f.http]]\npath = '/{name}'\n" for name in "abc")
    toml = f"""[functions.f]
{HANDLER}
{one}cors = "*"
{two}cors = ["https://a.example", "https://b.example:8443"]
auth = "key"
scopes = ["orders:read", "orders:write"]
{three}[functions.f.http.cors]
origins = ["https://a.example"]
methods = ["GET"]
headers = []
expose = ["x-total"]
credentials = true
max_age = "1h"
"""
    assert [(route.cors, route.auth, route.scopes) for route in _routes(tmp_path, toml)] == [
        (Cors(origins=("*",)), None, ()),
        (Cors(origins=("https://a.example", "https://b.example:8443")), "key", ("orders:read", "orders:write")),
        (
            Cors(
                origins=("https://a.example",),
                methods=("GET",),
                headers=(),
                expose=("x-total",),
                credentials=True,
                max_age_s=3600.0,
            ),
            None,
            (),
        ),
    ]


def test_a_single_file_is_served_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("def handler(event): ...\n")
    assert load(tmp_path / "hello.py", {}).routes == (Route(function="hello", path="/"),)


@pytest.mark.parametrize(
    ("http", "place", "word"),
    [
        ('http = "FETCH /x"', "3 functions.f.http", "FETCH"),
        ('http = ["/x", "no slash"]', "3 functions.f.http[1]", "method 'no'"),
        ('http = "GET x"', "3 functions.f.http", "must start with a slash"),
        ('[[functions.f.http]]\npath = "x"', "3 functions.f.http[0]", "must start with a slash"),
        ('http = "/x/{id:number}"', "3 functions.f.http", "number"),
        ("http = 3", "3 functions.f.http", "a table"),
        ('[[functions.f.http]]\nmethods = ["GET"]', "3 functions.f.http[0]", 'path is missing: write path = "/hello"'),
        (
            '[[functions.f.http]]\npath = "/x"\nmethod = "GET"',
            "5 functions.f.http[0].method",
            "did you mean 'methods'?",
        ),
        ('[[functions.f.http]]\npath = "/x"\ndecode = "xml"', "5 functions.f.http[0].decode", '"xml"'),
        ('[http]\nlisten = "8080"', "4 http.listen", "host:port"),
        ('[http]\nlisten = "unix:x.sock"', "4 http.listen", "absolute path"),
        ('[http]\nlisten = "unix:/' + "x" * 108 + '"', "4 http.listen", "107 bytes"),
        ('[http]\nlistn = "127.0.0.1:80"', "4 http.listn", "did you mean 'listen'?"),
        ('[[functions.f.http]]\npath = "/x"\nauth = "basic"', "5 functions.f.http[0].auth", '"key"'),
        ('[[functions.f.http]]\npath = "/x"\nscopes = ["a"]', "3 functions.f.http[0]", 'only auth = "key" requires'),
        (_SCOPES % '"a b"', "3 functions.f.http[0]", "'a b' is not a scope"),
        (_SCOPES % "'a\"'", "3 functions.f.http[0]", "is not a scope"),
        (_SCOPES % '""', "3 functions.f.http[0]", "'' is not a scope"),
        (_SCOPES % '"é"', "3 functions.f.http[0]", "'é' is not a scope"),
        (_SCOPES % f'"{"a" * 101}"', "3 functions.f.http[0]", "is not a scope"),
        (_SCOPES % '"*"', "3 functions.f.http[0]", "'*' is not a scope: the only wildcard"),
        (_SCOPES % '"orders:*"', "3 functions.f.http[0]", "'orders:*' is not a scope: the only wildcard"),
        (_SCOPES % ", ".join(f'"{n}"' for n in range(65)), "3 functions.f.http[0]", "65 scopes are too many"),
        ('[[functions.f.http]]\npath = "/x"\ncors = true', "5 functions.f.http[0].cors", "must be a table"),
        ('[[functions.f.http]]\npath = "/x"\ncors = []', "5 functions.f.http[0].cors", "origins is missing"),
        ('[[functions.f.http]]\npath = "/x"\ncors = "app.example"', "5 functions.f.http[0].cors", "is not an origin"),
        ('[[functions.f.http]]\npath = "/x"\ncors = "https://a.b/"', "5 functions.f.http[0].cors", "is not an origin"),
        (
            '[[functions.f.http]]\npath = "/x"\ncors = { origins = ["*"], credentials = true }',
            "5 functions.f.http[0].cors",
            'credentials cannot be combined with the origin "*"',
        ),
        (
            '[[functions.f.http]]\npath = "/x"\ncors = { origins = ["*"], origin = "x" }',
            "5 functions.f.http[0].cors.origin",
            "did you mean 'origins'?",
        ),
        ('[http]\ntrusted_proxies = ["10.0.0.1/8"]', "4 http.trusted_proxies[0]", "is not a network"),
        ('[[http.static]]\ndir = "."', "3 http.static[0]", 'path is missing: write path = "/assets"'),
        ('[[http.static]]\npath = "/a"', "3 http.static[0]", 'dir is missing: write dir = "public"'),
        ('[[http.static]]\npath = "/a"\ndir = "none"', "5 http.static[0].dir", "there is no directory"),
        ('[[http.static]]\npath = "a"\ndir = "."', "4 http.static[0].path", "must start with a slash"),
        ('[[http.static]]\npath = "/{a}"\ndir = "."', "4 http.static[0].path", "cannot have parameters"),
        ('[[http.static]]\npath = "/a"\ndir = "."\nmax_age = 5', "6 http.static[0].max_age", "a string with a unit"),
        ('[admin]\nlisten = "9090"', "4 admin.listen", "host:port"),
        ('[defaults]\nhttp = "/x"', "4 defaults.http", "write it below the [functions.NAME] that need it"),
    ],
)
def test_a_mistake_has_its_place(tmp_path: Path, http: str, place: str, word: str) -> None:
    [problem] = _problems(tmp_path, f"[functions.f]\n{HANDLER}{http}\n")
    assert problem.partition(": ")[0] == place
    assert word in problem


def test_two_functions_cannot_have_the_same_requests(tmp_path: Path) -> None:
    toml = f'[functions.f]\n{HANDLER}http = "/x/{{a}}"\n[functions.g]\n{HANDLER}http = ["GET /y", "GET /x/{{b}}"]\n'
    [problem] = _problems(tmp_path, toml)
    assert problem.startswith("6 functions.g.http[1]: ")
    assert "'f'" in problem or " f" in problem
