"""`event["data"]`: the value for every content type; hostile bytes lead to Undecodable and to no other error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.decoding import Undecodable, decode_body

DECODED: list[tuple[bytes, str | None, str | None, Any]] = [
    (b'{"a": [1, 2.5, null, true]}', "application/json", None, {"a": [1, 2.5, None, True]}),
    (b"[1]", "Application/JSON; charset=UTF-8", None, [1]),
    (b"[1]", "application/cloudevents+json", None, [1]),
    ('["ä"]'.encode("utf-16"), "application/json", None, ["ä"]),
    ('["ä"]'.encode("latin-1"), 'application/json; charset="latin-1"', None, ["ä"]),
    (b"\xef\xbb\xbf[1]", "application/json", None, [1]),
    ("grün".encode(), "text/plain", None, "grün"),
    ("grün".encode("latin-1"), "text/html; charset=ISO-8859-1", None, "grün"),
    (b"a=1&b=&a=2&c", "application/x-www-form-urlencoded", None, {"a": ["1", "2"], "b": "", "c": ""}),
    (b"n=gr%C3%BCn+tea", "application/x-www-form-urlencoded", None, {"n": "grün tea"}),
    (b"a=%FF&b=\xff", "application/x-www-form-urlencoded", None, {"a": "\ufffd", "b": "\ufffd"}),
    (b"n=Garc%EDa", "application/x-www-form-urlencoded; charset=windows-1252", None, {"n": "García"}),
    ("n=Garcí%C3%ADa".encode("utf-16"), "application/x-www-form-urlencoded; charset=utf-16", None, {"n": "Garcíía"}),
    (b"\xff", "text/plain", None, "\ufffd"),
    (b"\xef\xbb\xbfx", "text/plain", None, "x"),
    (b"x\xff", "text/plain; charset=klingon", None, "x\ufffd"),
    (b"x", "text/plain; charset=hex", None, "x"),
    (b"x", "text/plain; charset=unicode_escape", None, "x"),
    (b"x", "text/plain; charset=idna", None, "x"),
    (b"[1]", "application/json; charset=klingon", None, [1]),
    (b'{"a": 1, "a": 2}', "application/json", None, {"a": 2}),
    (b'"\\ud800"', "application/json", None, "\ud800"),
    (b"123456789012345678901234567890", "application/json", None, 123456789012345678901234567890),
    (b"\x89PNG", "image/png", None, b"\x89PNG"),
    (b"{}", None, None, b"{}"),
    (b"{}", "nonsense", None, b"{}"),
    (b"[1]", "text/plain", "json", [1]),
    (b"[1]", "application/json", "text", "[1]"),
    (b"[1]", "application/json", "bytes", b"[1]"),
    (b"", "application/json", None, None),
    (b"", None, "bytes", None),
]

UNDECODABLE = [
    (b"{", "application/json", None, "line 1 column 2"),
    (b"[NaN]", "application/json", None, "NaN is not JSON"),
    (b"[" * 200_000, "application/json", None, "nested too deeply"),
    (b"1" * 5000, "application/json", None, "4300"),
    (b"\xff", "application/json", None, "utf-8"),
    (b"\xe4", "application/json; charset=utf-8", None, "utf-8"),
    (b"--b--", "multipart/form-data", None, "names no boundary"),
    (b"plain", "text/plain", "json", "as json"),
]


@pytest.mark.parametrize(("body", "content_type", "decode", "data"), DECODED)
def test_decodes(body: bytes, content_type: str | None, decode: str | None, data: Any) -> None:
    assert decode_body(body, content_type, decode) == data


@pytest.mark.parametrize(("body", "content_type", "decode", "reason"), UNDECODABLE)
def test_says_why_it_cannot_decode(body: bytes, content_type: str | None, decode: str | None, reason: str) -> None:
    with pytest.raises(Undecodable, match="cannot be decoded as") as caught:
        decode_body(body, content_type, decode)
    assert reason in str(caught.value)


CONTENT_TYPES = st.one_of(
    st.none(),
    st.text(),
    st.sampled_from(["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]),
    st.builds("text/x; charset={}".format, st.text()),
    st.builds("multipart/form-data; boundary={}".format, st.sampled_from(["b", '"b b"', "ü", ""])),
)
PIECES = [b"--b", b"\r\n", b"\r\n\r\n", b"--", b"content-disposition: form-data; ", b'name="a"', b"filename*=x''%FF"]
BODIES = st.one_of(st.binary(), st.lists(st.sampled_from(PIECES)).map(b"".join))


@pytest.mark.invariant("I15")
@given(BODIES, CONTENT_TYPES, st.sampled_from([None, "json", "text", "bytes"]))
def test_raises_nothing_but_undecodable(body: bytes, content_type: str | None, decode: str | None) -> None:
    try:
        data = decode_body(body, content_type, decode)
    except Undecodable:
        data = "undecodable"
    assert (data is None) or body


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.invariant("I15")
@given(VALUES, st.sampled_from(["utf-8", "utf-16", "utf-32-be"]))
def test_json_comes_back_in_every_encoding(value: Any, encoding: str) -> None:
    assert decode_body(json.dumps(value).encode(encoding), "application/json", None) == value
