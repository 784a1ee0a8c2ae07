"""Clients send bytes that are not HTTP and leave: no other client notices, and no memory leaks.

Each case is split in two at several places and ends in every way a client can end, over TCP and a unix socket, against
a server in a process of its own.
"""

import contextlib
import random
import re
import socket
from collections.abc import Iterator
from functools import partial
from struct import pack

import pytest

from tests.integration.test_http_malformed import CHUNKED, REFUSED
from tests.kit.http_process import HttpProcess, http_process
from tests.kit.http_server import LAST, request

pytestmark = pytest.mark.any_user

RESET = pack("ii", 1, 0)
ENDINGS = ("close", "reset", "half-close", "stay")
GROWTH_BYTES = 64 * 1024 * 1024
"""Far more than a few thousand connections cost, far less than a task that spins for a second."""

NOISE = {
    "no request": b"BREW\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)),
    "129 headers": b"GET /echo HTTP/1.1\r\nHost: here\r\n" + b"A: b\r\n" * 129 + b"\r\n",
    "long line": b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: here\r\n\r\n",
    "bad chunk": CHUNKED + b"zz\r\n",
    "body over the limit": request("/small", "POST", body=b"x" * 5000),
    "good, then none": request() + b"BREW\r\n\r\n",
    "good, last, good": request() + LAST + request(),
    "chunked, then good": CHUNKED + b"1\r\nx\r\n0\r\nX-A: b\r\n\r\n" + request(),
    "half a request": request()[:30],
    "half a body": request(method="POST", headers="Content-Length: 10\r\n") + b"x",
    "zeros": bytes(1000),
    "line ends": b"\r\n" * 500,
}
CASES = {**NOISE, **{name: data + LAST for name, (data, _) in REFUSED.items()}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpProcess]:
    with http_process(tmp_path_factory.mktemp("http") / "s") as process:
        yield process


def misbehave(server: HttpProcess, kind: str, pieces: list[bytes], ending: str) -> socket.socket | None:
    """Send the pieces and end with `ending`; return the connection if it stays open."""
    client = server.connect(kind)
    with contextlib.suppress(ConnectionError):  # the server may refuse it before everything is sent
        for piece in pieces:
            client.sendall(piece)
        if ending == "half-close":
            client.shutdown(socket.SHUT_WR)
    if ending in ("half-close", "stay"):
        return client
    if ending == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()
    return None


def cuts(data: bytes, chance: random.Random) -> Iterator[list[bytes]]:
    yield [data]
    for _ in range(2):
        at = chance.randrange(1, len(data))
        yield [data[:at], data[at:]]


def is_answered(server: HttpProcess, kind: str) -> bool:
    """Send a valid request and expect its answer within a second."""
    with server.connect(kind, timeout_s=1.0) as client:
        client.sendall(LAST)
        return client.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_whatever_a_client_sends_and_however_it_leaves(server: HttpProcess, kind: str, ending: str) -> None:
    chance = random.Random(f"{kind} {ending}")
    assert is_answered(server, kind)
    before = server.resident_bytes()
    for name, data in CASES.items():
        stayed = [misbehave(server, kind, pieces, ending) for pieces in cuts(data, chance)]
        assert is_answered(server, kind), name
        for client in stayed:
            if client is not None:
                client.close()
    assert server.resident_bytes() - before < GROWTH_BYTES


HIDDEN = b"GET /missing HTTP/1.1\r\nHost: here\r\n\r\n"
H2C = request(headers="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n")
ANSWERED = {
    "pipelined": (request() + request(method="POST", body=b"2"), [200, 200]),
    "behind an upgrade": (H2C + request(method="POST", body=HIDDEN), [200, 200]),
    "before a malformed one": (request() + b"BREW\r\n\r\n", [200, 400]),
    "of an absurd length": (request(method="POST", headers="Content-Length: 18446744073709551615\r\n") + b"x", [413]),
    "large": (request("/large", "POST", body=b"x" * 3_000_000), [200]),
}


@pytest.mark.parametrize("case", ANSWERED)
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_what_was_sent_before_a_half_close_is_answered(server: HttpProcess, kind: str, case: str) -> None:
    data, statuses = ANSWERED[case]
    for at in (0, len(data) // 2, len(data) - 10):
        with server.connect(kind) as client:
            client.sendall(data[:at])
            client.sendall(data[at:])
            client.shutdown(socket.SHUT_WR)
            answers = b"".join(iter(partial(client.recv, 65536), b""))
            assert [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]+) ", answers)] == statuses
