"""Forms as browsers and other clients send them, and errors in malformed ones."""

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.forms import multipart, urlencoded

UPLOAD = (
    b"a preamble nobody reads\r\n"
    b"--XX\r\n"
    b'Content-Disposition: form-data; name="title"\r\n\r\n'
    b"Gr\xc3\xbc\xc3\x9fe\r\n"
    b"--XX  \r\n"
    b'content-disposition: form-data; name="tag"\r\nContent-Type: text/plain; charset=latin-1\r\n\r\n'
    b"\xe4\r\n"
    b"--XX\r\n"
    b'Content-Disposition: form-data; name="tag"\r\n\r\n'
    b"\r\n"
    b"--XX\r\n"
    b'Content-Disposition: form-data; name="photo"; filename="my \\"best\\"; day.png"\r\n'
    b"Content-Type: image/png\r\n\r\n"
    b"\x89PNG\r\n--X\r\n\r\n"
    b"--XX\r\n"
    b"Content-Disposition: form-data; name=notes; filename*=UTF-8''%e2%82%ac.txt\r\n\r\n"
    b"cheap\r\n"
    b"--XX--\r\nan epilogue"
)


def test_an_upload() -> None:
    assert multipart(UPLOAD, "XX") == {
        "fields": {"title": "Grüße", "tag": ["ä", ""]},
        "files": [
            {
                "name": "photo",
                "filename": 'my "best"; day.png',
                "content_type": "image/png",
                "body": b"\x89PNG\r\n--X\r\n",
            },
            {"name": "notes", "filename": "€.txt", "content_type": None, "body": b"cheap"},
        ],
    }


def test_a_form_without_parts() -> None:
    assert multipart(b"--XX--", "XX") == {"fields": {}, "files": []}


HEADERS = b'content-disposition: form-data; name="a"'
MALFORMED = [
    (b"", "closing boundary is missing"),
    (b"--XX\r\n" + HEADERS + b"\r\n\r\n1", "closing boundary is missing"),
    (b"--XX\r\n" + HEADERS + b"\r\n--XX--", "no empty line"),
    (b"--XXY\r\n" + HEADERS + b"\r\n\r\n1\r\n--XX--", "begins with the boundary"),
    (b"--XX\r\n\r\n1\r\n--XX--", "no Content-Disposition"),
    (b"--XX\r\ncontent-disposition: form-data\r\n\r\n1\r\n--XX--", "of the form form-data; name="),
    (b'--XX\r\ncontent-disposition: form-data; name="a\r\n\r\n1\r\n--XX--', "of the form form-data; name="),
    (b"--XX\r\nnonsense\r\n\r\n1\r\n--XX--", "without a colon"),
    (b"--XX\r\nx: " + b"y" * 20_000 + b"\r\n\r\n\r\n--XX--", "longer than 16384 bytes"),
]


@pytest.mark.parametrize(("body", "reason"), MALFORMED)
def test_says_what_is_malformed(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        multipart(body, "XX")


@pytest.mark.invariant("I15")
@given(st.lists(st.binary()))
def test_the_bytes_of_files_come_through_untouched(contents: list[bytes]) -> None:
    boundary = "a-boundary-that-no-short-example-contains"
    head = b'--%s\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n' % boundary.encode()
    body = b"".join(head + content + b"\r\n" for content in contents) + b"--%s--" % boundary.encode()
    assert [file["body"] for file in multipart(body, boundary)["files"]] == contents


def _form(*parts: tuple[str, bytes], charset: str = "utf-8") -> bytes:
    return (
        b"".join(b"--XX\r\n" + head.encode(charset) + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
        + b"--XX--"
    )


NAMED = 'Content-Disposition: form-data; name="a"'


def test_a_part_without_a_filename_is_a_file_if_its_type_is_no_text() -> None:
    form = multipart(
        _form(
            (NAMED + "\r\nContent-Type: image/png", b"\x89PNG\xff"),
            (NAMED + "\r\nContent-Type: application/json", b'{"a": 1}'),
            (NAMED + "\r\nContent-Type: application/ld+json", b"[]"),
            (NAMED + "\r\nContent-Type: application/octet-stream; charset=cp1251", b"\xe4"),
        ),
        "XX",
    )
    assert form["files"] == [{"name": "a", "filename": None, "content_type": "image/png", "body": b"\x89PNG\xff"}]
    assert form["fields"] == {"a": ['{"a": 1}', "[]", "д"]}


CHARSETS = [
    ([(NAMED, b"a\xf1o")], None, "a\ufffdo"),
    ([(NAMED, b"a\xf1o")], "latin-1", "año"),
    ([(NAMED, b"\x80\x81")], "iso-8859-1", "€\x81"),
    ([(NAMED, b"\xe4"), ('Content-Disposition: form-data; name="_charset_"', b"windows-1251")], "latin-1", "д"),
    ([(NAMED, b"\xe4"), ('Content-Disposition: form-data; name="_charset_"', b"klingon")], "latin-1", "ä"),
    ([(NAMED + "\r\nContent-Type: text/plain; charset=koi8-r", b"\xc4")], "latin-1", "д"),
    ([(NAMED, "日本".encode("cp932"))], "shift_jis", "日本"),
]


@pytest.mark.parametrize(("parts", "charset", "text"), CHARSETS)
def test_a_named_charset_counts_the_nearest_first(
    parts: list[tuple[str, bytes]], charset: str | None, text: str
) -> None:
    assert multipart(_form(*parts), "XX", charset)["fields"]["a"] == text


def test_names_are_in_the_charset_of_the_form() -> None:
    head = 'Content-Disposition: form-data; name="año"; filename="señal.txt"'
    body = _form((head, b""), charset="latin-1")
    assert [(file["name"], file["filename"]) for file in multipart(body, "XX", "latin-1")["files"]] == [
        ("año", "señal.txt")
    ]
    assert [file["filename"] for file in multipart(body, "XX")["files"]] == ["se\ufffdal.txt"]


URLENCODED = [
    (b"name=Garc%EDa&charset=windows-1252", None, {"name": "García", "charset": "windows-1252"}),
    (b"name=Garc%C3%ADa&charset=windows-1252", None, {"name": "García", "charset": "windows-1252"}),
    (b"name=Garc%EDa&_charset_=iso-8859-1", "utf-8", {"name": "García", "_charset_": "iso-8859-1"}),
    (b"name=Garc%EDa&charset=klingon", None, {"name": "Garc\ufffda", "charset": "klingon"}),
    (b"a=1&a=2&b=&c&=x&d=%2B+%26&&e=%zz%", None, {"a": ["1", "2"], "b": "", "c": "", "": "x", "d": "+ &", "e": "%zz%"}),
    (b"%E4=%E4", "latin-1", {"ä": "ä"}),
]


@pytest.mark.parametrize(("body", "charset", "form"), URLENCODED)
def test_a_form_in_any_charset_is_read(body: bytes, charset: str | None, form: dict[str, object]) -> None:
    assert urlencoded(body, charset) == form


@pytest.mark.invariant("I15")
@given(st.binary(max_size=300), st.sampled_from([None, "latin-1", "utf-16", "shift_jis", "klingon", "\ud800", "a\0"]))
def test_no_form_is_refused(body: bytes, charset: str | None) -> None:
    for name, value in urlencoded(body, charset).items():
        assert isinstance(name, str)
        assert isinstance(value, (str, list))


def _peak_bytes(decode: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        decode()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_upload_takes_its_size_once_more() -> None:
    size = 8 * 1024 * 1024
    head = 'Content-Disposition: form-data; name="f"; filename="x"\r\nContent-Type: image/png'
    body = _form((head, bytes(size // 2)), (head, b"\r\n--X" * (size // 10)))
    assert _peak_bytes(lambda: multipart(body, "XX")) < 1.1 * len(body)


def test_bytes_that_are_called_a_form_take_little_more_than_their_text() -> None:
    body = b"\xff\xd8" + bytes(range(256)) * 4096
    assert _peak_bytes(lambda: urlencoded(body, None)) < 4 * len(body)
