"""The client of the control socket, against real sockets that behave badly."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from forklight.admin.client import NoServer, Refused, get, lines, post
from forklight.state.control_socket import socket_path


@pytest.fixture
def listener(open_path: Path) -> Iterator[socket.socket]:
    """A listener on the control socket of the state directory `open_path`."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_path(open_path)))
        server.listen()
        yield server


def _answer(listener: socket.socket, answer: bytes) -> Thread:
    """Answer any next request with these bytes, and close."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = Thread(target=serve)
    thread.start()
    return thread


def test_an_answer_is_read_whole(open_path: Path, listener: socket.socket) -> None:
    thread = _answer(listener, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert get(open_path, "/status") == b"hello"
    thread.join()


def test_lines_come_one_by_one(open_path: Path, listener: socket.socket) -> None:
    chunks = b"3\r\na\nb\r\n3\r\nc\nd\r\n0\r\n\r\n"
    thread = _answer(listener, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert list(lines(open_path, "/logs", follow="1")) == [b"a\n", b"bc\n", b"d"]
    thread.join()


def test_nobody_listens(open_path: Path) -> None:
    with pytest.raises(NoServer, match=f"no server runs on {open_path}: start one with forklight serve"):
        get(open_path, "/status")


def test_what_a_killed_server_left_is_no_server(open_path: Path, listener: socket.socket) -> None:
    listener.close()
    with pytest.raises(NoServer, match="no server runs on"):
        list(lines(open_path, "/logs"))


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_server_that_breaks_off(open_path: Path, listener: socket.socket, answer: bytes) -> None:
    thread = _answer(listener, answer)
    with pytest.raises(NoServer, match="does not answer"):
        get(open_path, "/status")
    thread.join()


def test_a_path_too_long_for_a_socket_has_it_elsewhere(open_path: Path) -> None:
    assert socket_path(open_path) == open_path / "control.sock"
    long = open_path / ("x" * 100)
    folder = "/run" if os.getuid() == 0 else f"/run/user/{os.getuid()}"
    assert str(socket_path(long).parent) == folder
    assert socket_path(long) != socket_path(open_path / ("y" * 100))


def test_a_refusal_is_told_with_its_line(open_path: Path, listener: socket.socket) -> None:
    thread = _answer(listener, b"HTTP/1.1 404 Not Found\r\nContent-Length: 15\r\n\r\nno such thing!\n")
    with pytest.raises(Refused, match=r"^no such thing!$") as refused:
        post(open_path, "/invoke/x", b"{}", "application/json", query=[("timer", "a b")])
    assert refused.value.status == 404
    thread.join()


def test_a_redirection_is_a_refusal(open_path: Path, listener: socket.socket) -> None:
    answer = b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://example.com/\r\nContent-Length: 0\r\n\r\n"
    thread = _answer(listener, answer)
    with pytest.raises(Refused, match=r"it redirects to https://example\.com/: name that one"):
        get(open_path, "/applications")
    thread.join()
