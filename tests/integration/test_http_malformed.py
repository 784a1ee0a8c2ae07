"""Malformed requests: the answer to each, that no function sees it, and that it is answered once.

A valid request follows each case in the same segment. Unless the case is harmless, its answer is the last one.
"""

import asyncio
import json

import pytest

from tests.kit.http_server import LAST, request, running

CHUNKED = b"POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"


def line(first: bytes) -> bytes:
    return first + b"\r\nHost: here\r\n\r\n"


def field(raw: bytes) -> bytes:
    return b"GET /echo HTTP/1.1\r\nHost: here\r\n" + raw + b"\r\n\r\n"


def post(raw: bytes, body: bytes = b"") -> bytes:
    return b"POST /echo HTTP/1.1\r\nHost: here\r\n" + raw + b"\r\n\r\n" + body


REFUSED = {
    # The request line.
    "no version": (line(b"GET /echo"), 400),
    "version 0.9": (line(b"GET /echo HTTP/0.9"), 400),
    "version 1.2": (line(b"GET /echo HTTP/1.2"), 400),
    "version 2.0": (line(b"GET /echo HTTP/2.0"), 400),
    "version 1": (line(b"GET /echo HTTP/1"), 400),
    "version 1.1.1": (line(b"GET /echo HTTP/1.1.1"), 400),
    "version in lower case": (line(b"GET /echo http/1.1"), 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "unknown method": (line(b"BREW /echo HTTP/1.1"), 501),
    "method without an end": (b"A" * 100 + b"\r\n\r\n", 501),
    "method without a target": (b"BREW\r\n\r\n", 400),
    "RTSP": (line(b"GET /echo RTSP/1.0"), 400),
    "ICE": (line(b"SOURCE /echo ICE/1.0"), 400),
    "method in lower case": (line(b"get /echo HTTP/1.1"), 400),
    "method with a comma": (line(b"G,T /echo HTTP/1.1"), 400),
    "tab for a space": (line(b"GET\t/echo HTTP/1.1"), 400),
    "space before the method": (line(b" GET /echo HTTP/1.1"), 400),
    "space in the target": (line(b"GET /ec ho HTTP/1.1"), 400),
    "control character in the target": (line(b"GET /ec\x01ho HTTP/1.1"), 400),
    "raw bytes over 127 in the target": (line(b"GET /\xc3\xa9 HTTP/1.1"), 400),
    "fragment": (line(b"GET /echo#x HTTP/1.1"), 400),
    "target without a slash": (line(b"GET echo HTTP/1.1"), 400),
    "empty authority": (line(b"GET http:///echo HTTP/1.1"), 400),
    "foreign scheme": (line(b"GET ftp://here/echo HTTP/1.1"), 400),
    "user in the authority": (line(b"GET http://a@here/echo HTTP/1.1"), 400),
    "asterisk for GET": (line(b"GET * HTTP/1.1"), 400),
    "CONNECT": (line(b"CONNECT here:80 HTTP/1.1"), 501),
    "dot segments": (line(b"GET /a/../echo HTTP/1.1"), 400),
    "encoded dot segments": (line(b"GET /a/%2e%2e/echo HTTP/1.1"), 400),
    "dot segments behind an encoded slash": (line(b"GET /a%2f..%2fecho HTTP/1.1"), 400),
    "encoded NUL": (line(b"GET /echo%00 HTTP/1.1"), 400),
    "broken escape": (line(b"GET /echo%4 HTTP/1.1"), 400),
    "escape that is not UTF-8": (line(b"GET /%ff HTTP/1.1"), 400),
    # Headers.
    "malformed Host beside an absolute target": (b"GET http://here/echo HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "no Host beside an absolute target": (b"GET http://here/echo HTTP/1.1\r\n\r\n", 400),
    "bare LF after the request line": (b"GET /echo HTTP/1.1\nHost: here\r\n\r\n", 400),
    "long target": (line(b"GET /" + b"x" * 8190 + b" HTTP/1.1"), 414),
    "long target with a control character": (line(b"GET /\x01" + b"x" * 8190 + b" HTTP/1.1"), 414),
    "long header": (field(b"X-A: " + b"x" * 8191), 431),
    "129 headers": (b"GET /echo HTTP/1.1\r\nHost: here\r\n" + b"X-A: b\r\n" * 128 + b"\r\n", 431),
    "64 KiB of headers": (b"GET /echo HTTP/1.1\r\nHost: here\r\n" + b"X-A: %s\r\n" % (b"b" * 8000) * 9 + b"\r\n", 431),
    "no Host": (b"GET /echo HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (field(b"Host: there"), 400),
    "malformed Host": (b"GET /echo HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "Host with a path": (b"GET /echo HTTP/1.1\r\nHost: here/there\r\n\r\n", 400),
    "space before the colon": (field(b"X-A : b"), 400),
    "space in the name": (field(b"X A: b"), 400),
    "no colon": (field(b"X-A"), 400),
    "empty name": (field(b": b"), 400),
    "folded header": (field(b"X-A: b\r\n c"), 400),
    "space before the first header": (b"GET /echo HTTP/1.1\r\n Host: here\r\n\r\n", 400),
    "NUL in a value": (field(b"X-A: \0"), 400),
    "control character in a value": (field(b"X-A: \x01"), 400),
    "bare CR in a value": (field(b"X-A: b\rX-C: d"), 400),
    "bare LF after a header": (field(b"X-A: b\nX-C: d"), 400),
    "name with a quote": (field(b'X"A: b'), 400),
    "name with bytes over 127": (field(b"X-\xc3\xa9: b"), 400),
    # The length of the message.
    "length with a sign": (post(b"Content-Length: +1", b"x"), 400),
    "negative length": (post(b"Content-Length: -1"), 400),
    "length in hexadecimal": (post(b"Content-Length: 0x1", b"x"), 400),
    "length with an underscore": (post(b"Content-Length: 1_0", b"x"), 400),
    "length with a fraction": (post(b"Content-Length: 1.0", b"x"), 400),
    "length of nothing": (post(b"Content-Length: "), 400),
    "length over 64 bits": (post(b"Content-Length: 99999999999999999999"), 400),
    "length of 2^64 - 1": (post(b"Content-Length: 18446744073709551615", b"x"), 413),
    "length of 2^64 - 2": (post(b"Content-Length: 18446744073709551614", b"x"), 413),
    "two lengths": (post(b"Content-Length: 1\r\nContent-Length: 1", b"x"), 400),
    "two lengths in one": (post(b"Content-Length: 1, 1", b"x"), 400),
    "length and chunks": (post(b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"), 400),
    "chunks and length": (post(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n"), 400),
    "Transfer_Encoding": (post(b"Transfer_Encoding: chunked", b"0\r\n\r\n"), 400),
    "Content_Length": (post(b"Content_Length: 5"), 400),
    "chunks twice": (post(b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n"), 400),
    "two codings": (post(b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"), 501),
    "coding that is not the last": (post(b"Transfer-Encoding: chunked, gzip", b"0\r\n\r\n"), 400),
    "unknown coding": (post(b"Transfer-Encoding: xchunked", b"0\r\n\r\n"), 400),
    "quoted coding": (post(b'Transfer-Encoding: "chunked"', b"0\r\n\r\n"), 400),
    "tab in a coding": (post(b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n"), 400),
    "chunks in HTTP/1.0": (b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "unknown expectation": (post(b"Expect: payment"), 417),
    # Chunks.
    "chunk size of letters": (CHUNKED + b"zz\r\nx\r\n0\r\n\r\n", 400),
    "chunk size with 0x": (CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n", 400),
    "chunk size with a sign": (CHUNKED + b"+1\r\nx\r\n0\r\n\r\n", 400),
    "negative chunk size": (CHUNKED + b"-1\r\nx\r\n0\r\n\r\n", 400),
    "chunk size with a space before": (CHUNKED + b" 1\r\nx\r\n0\r\n\r\n", 400),
    "chunk size with a space behind": (CHUNKED + b"1 \r\nx\r\n0\r\n\r\n", 400),
    "chunk size over 64 bits": (CHUNKED + b"11111111111111111\r\nx\r\n0\r\n\r\n", 400),
    "chunk without a size": (CHUNKED + b"\r\nx\r\n0\r\n\r\n", 400),
    "chunk longer than its size": (CHUNKED + b"1\r\nxy\r\n0\r\n\r\n", 400),
    "bare LF behind a chunk size": (CHUNKED + b"1\nx\r\n0\r\n\r\n", 400),
    "bare LF behind a chunk": (CHUNKED + b"1\r\nx\n0\r\n\r\n", 400),
    "control character in a chunk extension": (CHUNKED + b"1;a=\x01\r\nx\r\n0\r\n\r\n", 400),
    "malformed trailer": (CHUNKED + b"0\r\nX A: b\r\n\r\n", 400),
}

HARMLESS = {
    "two spaces after the target": (line(b"GET /echo  HTTP/1.1"), [200, 200]),
    "two spaces before the target": (line(b"GET  /echo HTTP/1.1"), [200, 200]),
    "empty lines before": (b"\r\n\r\n" + request(), [200, 200]),
    "value with bytes over 127": (field(b"X-A: \xe9"), [200, 200]),
    "empty value": (field(b"X-A:"), [200, 200]),
    "spaces around a value": (field(b"X-A: \t b \t"), [200, 200]),
    "absolute target": (line(b"GET http://here/echo HTTP/1.1"), [200, 200]),
    "an escape that was not needed": (line(b"GET /%65cho HTTP/1.1"), [200, 200]),
    "empty segment": (line(b"GET //echo HTTP/1.1"), [404, 200]),
    "trailing slash": (line(b"GET /echo/ HTTP/1.1"), [404, 200]),
    "upgrade to HTTP/2": (
        field(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA"),
        [200, 200],
    ),
    "upgrade to anything": (field(b"Upgrade: foo\r\nConnection: upgrade"), [200, 200]),
    "upgrade with a body": (post(b"Upgrade: TLS/1.0\r\nConnection: upgrade\r\nContent-Length: 1", b"x"), [200, 200]),
    "upgrade with chunks": (CHUNKED[:-2] + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n1\r\nx\r\n0\r\n\r\n", [200]),
    "body that is not read": (b"POST /missing HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\n\r\nx", [404]),
    "close beside keep-alive": (b"GET /echo HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", [200]),
    "two headers that close and keep": (
        b"GET /echo HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
        [200],
    ),
    "upgrade that is not supported": (field(b"Upgrade: websocket\r\nConnection: Upgrade"), [200, 200]),
    "TRACE": (line(b"TRACE /echo HTTP/1.1"), [405, 200]),
    "length zero": (post(b"Content-Length: 0"), [200, 200]),
    "chunk extension": (CHUNKED + b"1;a=b\r\nx\r\n0\r\n\r\n", [200]),
    "trailer": (CHUNKED + b"0\r\nX-A: b\r\n\r\n", [200]),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_malformed_requests_are_refused_once_and_never_run(case: str) -> None:
    data, status = REFUSED[case]
    async with running() as house:
        answers = await house.talk(data + LAST)
        assert [answer.status for answer in answers] == [status]
        assert answers[0]["connection"] == "close"
        assert answers[0]["content-type"] == "application/problem+json"
        assert house.functions.events == []


@pytest.mark.parametrize("case", HARMLESS)
async def test_odd_but_harmless_requests(case: str) -> None:
    data, statuses = HARMLESS[case]
    async with running() as house:
        assert [answer.status for answer in await house.talk(data + LAST)] == statuses


@pytest.mark.parametrize("case", [case for case in REFUSED if REFUSED[case][0].startswith(CHUNKED)])
async def test_a_body_that_breaks_after_its_headers_were_read_is_refused_once(case: str) -> None:
    data, status = REFUSED[case]
    async with running() as house, house.connect() as client:
        # After the 100 the trigger waits for the body.
        client.writer.write(CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n")
        assert (await client.reply()).status == 100
        client.writer.write(data.removeprefix(CHUNKED) + LAST)
        assert [answer.status for answer in await client.replies()] == [status]
        assert house.functions.events == []


@pytest.mark.parametrize("case", [*REFUSED, *HARMLESS])
async def test_malformed_requests_in_segments_of_one_byte(case: str) -> None:
    data, expected = REFUSED[case] if case in REFUSED else HARMLESS[case]
    statuses = [expected] if isinstance(expected, int) else expected
    async with running() as house, house.connect() as client:
        for byte in data + LAST:
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert [answer.status for answer in await client.replies()] == statuses
        assert case in HARMLESS or house.functions.events == []


@pytest.mark.parametrize("case", REFUSED)
async def test_good_requests_before_a_malformed_one_are_answered(case: str) -> None:
    data, status = REFUSED[case]
    async with running() as house:
        answers = await house.talk(request() + request(method="POST", body=b"2") + data + LAST)
        assert [answer.status for answer in answers] == [200, 200, status]
        assert [event.body for event in house.functions.events] == [b"", b"2"]


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "this looks like TLS, but this port speaks plain HTTP"),
        (b"get / HTTP/1.1\r\n\r\n", "write the method in capitals: GET"),
        (field(b"X A: b"), "the request is not valid HTTP/1.1: Invalid header token"),
        (line(b"GET / HTTP/1.3"), "the request is not valid HTTP/1.1: Invalid HTTP version"),
        (b"GET / HTTP/1.1\r\n\r\n", "the request is not valid HTTP/1.1: Missing 'Host' header in request"),
        (b"GET / HTTP/1.1\nHost: a\n\n", "a line ends in LF without CR"),
        (CHUNKED + b"zz\r\n", "the body is malformed: Invalid character in chunk size"),
        (post(b"Authorization: secret\x01"), "the request is not valid HTTP/1.1: Invalid header value char"),
    ],
)
async def test_the_detail_says_what_is_wrong_and_quotes_nothing_secret(data: bytes, detail: str) -> None:
    async with running() as house:
        [answer] = await house.talk(data)
        assert json.loads(answer.body)["detail"] == detail


@pytest.mark.parametrize("first", [LAST, b"GET /echo HTTP/1.0\r\n\r\n", CHUNKED + b"0\r\n\r\n"])
async def test_what_follows_a_last_request_is_ignored(first: bytes) -> None:
    async with running() as house:
        for behind in (request(), b"BREW\r\n\r\n", b"\0" * 1000):
            assert [answer.status for answer in await house.talk(first + behind)] == [200]


@pytest.mark.parametrize(
    "begun", [CHUNKED + b"5\r\nab", request(method="POST", headers="Expect: 100-continue\r\n", body=b"ab")[:-1]]
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_client_that_half_closes_within_a_request_gets_no_answer(begun: bytes, at_once: bool) -> None:
    """Even if its EOF comes before the body is read: the server does not wait for the deadline."""
    async with running() as house, house.connect() as client:
        client.writer.write(begun)
        if not at_once:
            await asyncio.sleep(0.05)
        client.writer.write_eof()
        assert [answer for answer in await client.replies() if answer.status != 100] == []
        assert house.functions.events == []
