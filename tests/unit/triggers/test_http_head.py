import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.http.errors import RefusedError
from triggers.http.head import expects_continue, join_headers, parse_head

HOST = ("Host", "here")


def test_an_ordinary_request() -> None:
    head = parse_head(
        "GET", "/a%20b?x=1&y", (1, 1), [HOST, ("X-A", "1"), ("x-a", "2"), ("Cookie", "a=1"), ("cookie", "b=2")]
    )
    assert (head.method, head.path, head.query, head.host) == ("GET", "/a%20b", "x=1&y", "here")
    assert head.headers == {"host": "here", "x-a": "1, 2", "cookie": "a=1; b=2"}


@pytest.mark.parametrize(
    ("target", "host", "path", "query"),
    [
        ("http://there/a?b", "there", "/a", "b"),
        ("HTTPS://there:80", "there:80", "/", ""),
        ("http://there?b", "there", "/", "b"),
        ("*", "here", "*", ""),
    ],
)
def test_targets_of_other_forms(target: str, host: str, path: str, query: str) -> None:
    head = parse_head("OPTIONS", target, (1, 1), [HOST])
    assert (head.host, head.path, head.query, head.headers["host"]) == (host, path, query, host)


@pytest.mark.parametrize(
    ("method", "target", "version", "headers", "status"),
    [
        ("GET", "/", (2, 0), [], 400),
        ("GET", "/", (1, 2), [], 400),
        ("GET", "/", (0, 9), [], 400),
        ("GET", "/é", (1, 1), [], 400),
        ("GET", "/a#b", (1, 1), [], 400),
        ("GET", "a", (1, 1), [], 400),
        ("GET", "ftp://there/", (1, 1), [], 400),
        ("GET", "http:///a", (1, 1), [], 400),
        ("GET", "http://user@there/", (1, 1), [], 400),
        ("CONNECT", "there:80", (1, 1), [], 501),
        ("POST", "/", (1, 0), [("Transfer-Encoding", "chunked")], 400),
        ("POST", "/", (1, 1), [("Transfer-Encoding", "gzip, chunked")], 501),
        ("POST", "/", (1, 1), [("Transfer-Encoding", "chunked"), ("Content-Length", "1")], 400),
        ("POST", "/", (1, 1), [("Transfer_Encoding", "chunked")], 400),
        ("POST", "/", (1, 1), [("Content_Length", "1")], 400),
        ("POST", "/", (1, 1), [("Expect", "payment")], 417),
    ],
)
def test_an_ambiguous_request_is_refused(
    method: str, target: str, version: tuple[int, int], headers: list[tuple[str, str]], status: int
) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_head(method, target, version, [HOST, *headers])
    assert refused.value.status == status


@pytest.mark.parametrize("host", ["", "a.example:8080", "[::1]", "[::1]:80", "127.0.0.1"])
def test_hosts(host: str) -> None:
    assert parse_head("GET", "/", (1, 1), [("Host", host)]).host == host


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "a:b", "[::1", "a, b", "é"])
def test_malformed_hosts(host: str) -> None:
    with pytest.raises(RefusedError):
        parse_head("GET", "/", (1, 1), [("Host", host)])


def test_header_bytes_that_are_not_utf8_are_latin1() -> None:
    raw = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert join_headers([("X-A", raw), ("X-B", "café"), ("x_c", "1")]) == {"x-a": "café", "x-b": "café", "x_c": "1"}


def test_expectation() -> None:
    assert expects_continue(parse_head("POST", "/", (1, 1), [HOST, ("Expect", "100-Continue")]).headers)
    assert not expects_continue({})
    assert not expects_continue(parse_head("POST", "/", (1, 0), [("Expect", "100-continue")]).headers)


@pytest.mark.invariant("I22")
@given(
    st.text(max_size=10),
    st.text(max_size=40),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=20)), max_size=5),
)
def test_any_request_is_a_head_or_refused(
    method: str, target: str, version: tuple[int, int], raw: list[tuple[str, bytes]]
) -> None:
    headers = [(name, value.decode("utf-8", "surrogateescape")) for name, value in raw]
    status, values = 0, ""
    try:
        values = "".join(parse_head(method, target, version, headers).headers.values())
    except RefusedError as refused:
        status = refused.status
    assert status in (0, 400, 417, 501)
    assert values.encode().decode() == values
