"""The protocols of a service manager, where there is one and where there is none."""

import contextlib
import os
import secrets
import socket

import anyio
import anyio.to_thread
import pytest

from forklight.serving.systemd import Notifier, inherited_socket, listen_address
from triggers.http import ListenError


async def test_it_is_told_at_an_abstract_address_too() -> None:
    name = f"forklight-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(10)
        notifier = Notifier({"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "1000"}, 1)
        notifier.ready()
        notifier.stopping()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(notifier.keep_alive)
            told = [await anyio.to_thread.run_sync(manager.recv, 100) for _ in range(4)]
            tasks.cancel_scope.cancel()
        assert told == [b"READY=1", b"STOPPING=1", b"WATCHDOG=1", b"WATCHDOG=1"]


def test_what_a_busy_manager_has_no_room_for_is_sent_later() -> None:
    name = f"forklight-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": f"@{name}"}, 1)
        for _ in range(1000):  # more than any machine queues
            notifier.ready()
        notifier.reloaded("oh")
        assert b"oh" not in b"".join(received(manager))
        notifier.stopping()
        assert received(manager)[-2:] == [b"STATUS=the last reload failed: oh", b"STOPPING=1"]


def received(manager: socket.socket) -> list[bytes]:
    """What has arrived."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(manager.recv(1000))
    return found


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "2"},
        {"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/none"},
    ],
)
async def test_nobody_to_tell_is_no_error(environ: dict[str, str]) -> None:
    notifier = Notifier(environ, 1)
    notifier.ready()
    await notifier.keep_alive()


def test_sockets_of_another_process_are_not_ours() -> None:
    assert inherited_socket({}, os.getpid()) is None
    assert inherited_socket({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, os.getpid()) is None
    with pytest.raises(ListenError, match="only one can be used"):
        inherited_socket({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}, os.getpid())


def test_how_an_address_is_told() -> None:
    for family, place in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((place, 0), family=family) as listener:
            shown = f"[{place}]" if family is socket.AF_INET6 else place
            assert listen_address(listener) == f"{shown}:{listener.getsockname()[1]}"
