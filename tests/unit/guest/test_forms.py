"""multipart/form-data as browsers and clients send it, and what is malformed in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.forms import multipart

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
    (b"--XX\r\ncontent-disposition: form-data\r\n\r\n1\r\n--XX--", "with a name"),
    (b'--XX\r\ncontent-disposition: form-data; name="a\r\n\r\n1\r\n--XX--', "with a name"),
    (b"--XX\r\nnonsense\r\n\r\n1\r\n--XX--", "without a colon"),
    (b"--XX\r\n" + HEADERS + b"\r\n\r\n\xff\r\n--XX--", "utf-8"),
    (b"--XX\r\nx: " + b"y" * 20_000 + b"\r\n\r\n\r\n--XX--", "longer than 16384 bytes"),
]


@pytest.mark.parametrize(("body", "reason"), MALFORMED)
def test_says_what_is_malformed(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        multipart(body, "XX")


@given(st.lists(st.binary()))
def test_the_bytes_of_files_come_through_untouched(contents: list[bytes]) -> None:
    boundary = "a-boundary-that-no-short-example-contains"
    head = b'--%s\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n' % boundary.encode()
    body = b"".join(head + content + b"\r\n" for content in contents) + b"--%s--" % boundary.encode()
    assert [file["body"] for file in multipart(body, boundary)["files"]] == contents
