"""Who holds the other end of a connection: a process below this one, another one, or nobody any more."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sandbox.guest._forklight.peers import is_own

pytestmark = pytest.mark.any_user
_CLIENT = """
import socket, sys
connected = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_process_below_is_own_until_it_is_killed(listener: socket.socket) -> None:
    command = [sys.executable, "-I", "-c", _CLIENT, str(listener.getsockname()[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"connected\n"
        connection, _ = listener.accept()
        with connection:
            assert is_own(connection) is True
            client.kill()
            client.wait()
            assert is_own(connection) is None, "nobody is refused, as nobody is there"


def test_another_process_is_a_stranger_until_it_has_gone(listener: socket.socket) -> None:
    """Here this one, which is not below itself."""
    with socket.create_connection(listener.getsockname()) as client:
        connection, _ = listener.accept()
        with connection:
            assert is_own(connection) is False
            client.close()
            assert is_own(connection) is None


def test_a_connection_that_was_reset_is_nobodys(listener: socket.socket) -> None:
    client = socket.create_connection(listener.getsockname())
    connection, _ = listener.accept()
    with connection:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        assert is_own(connection) is None
