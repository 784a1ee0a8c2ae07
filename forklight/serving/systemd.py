"""Sockets from a service manager, and notifications to it: sd_listen_fds(3) and sd_notify(3)."""

import os
import socket
import stat
from collections import deque
from collections.abc import Mapping

import anyio

from triggers.http import ListenError

_FIRST_FD = 3
_EXTENDED_US = 90_000_000
"""systemd's own default for a start (systemd-system.conf(5), DefaultTimeoutStartSec=)."""
_LATE = 2
"""The watchdog is notified twice as often as it demands (sd_watchdog_enabled(3))."""
_ALIVE = "WATCHDOG=1"
_MOST_UNSENT = 8
"""Notifications that wait for room; older ones are dropped. Fewer than the 10 that Linux queues (max_dgram_qlen)."""


def inherited_socket(environ: Mapping[str, str], pid: int) -> socket.socket | None:
    """Return the listening socket that systemd opened for this process, `pid`, or None.

    Raises ListenError if there are several, or if it is not a listening stream socket.
    """
    if environ.get("LISTEN_PID") != str(pid):
        return None
    count = environ.get("LISTEN_FDS", "")
    if count != "1":
        raise ListenError(f"LISTEN_FDS is {count!r}: only one can be used, so keep one ListenStream= in the unit")
    try:
        is_socket = stat.S_ISSOCK(os.fstat(_FIRST_FD).st_mode)
    except OSError:
        is_socket = False
    if not is_socket:
        raise ListenError(f"LISTEN_FDS announces a socket, but the descriptor {_FIRST_FD} is not one")
    found = socket.socket(fileno=_FIRST_FD)
    found.set_inheritable(False)
    if found.type != socket.SOCK_STREAM or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.detach()
        raise ListenError("the inherited socket does not listen for streams: write ListenStream= and Accept=no")
    return found


def listen_address(given: socket.socket) -> str:
    """Return the address in the form of `[http] listen`."""
    name = given.getsockname()
    if given.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"[{host}]:{port}" if given.family == socket.AF_INET6 else f"{host}:{port}"


class Notifier:
    """Notifies the service manager, if there is one, of the state of the server."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._has_waited = False
        self._unsent: deque[str] = deque(maxlen=_MOST_UNSENT)
        is_ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        limit_us = environ.get("WATCHDOG_USEC", "") if is_ours else ""
        self._period_s = int(limit_us) / 1e6 / _LATE if limit_us.isascii() and limit_us.isdigit() else 0.0

    def ready(self) -> None:
        """Notify that the server is ready."""
        self._tell("READY=1\nSTATUS=" if self._has_waited else "READY=1")

    def waiting(self, what: str) -> None:
        """Notify why the start takes longer, and extend the time limit of the service manager."""
        self._has_waited = True
        self._tell(f"STATUS={what}\nEXTEND_TIMEOUT_USEC={_EXTENDED_US}")

    def reloaded(self, problem: str) -> None:
        """Notify, for `systemctl status`, why the last reload failed, in one line; an empty line if it did not."""
        self._tell(f"STATUS=the last reload failed: {problem}" if problem else "STATUS=")

    def stopping(self) -> None:
        """Notify that a drain has begun."""
        self._tell("STOPPING=1")

    async def keep_alive(self) -> None:
        """Notify the watchdog, if there is one, that the event loop is alive."""
        while self._address and self._period_s > 0:
            self._tell(_ALIVE)
            await anyio.sleep(self._period_s)

    def _tell(self, state: str) -> None:
        """Send a notification. If the service manager does not receive it, that is not an error.

        One that it has no room for, because it is busy, is sent before the next one.
        """
        if not self._address:
            return
        self._unsent.append(state)
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                while self._unsent:
                    sender.sendto(self._unsent[0].encode(), address)
                    self._unsent.popleft()
            except BlockingIOError:
                if state == _ALIVE:  # the next one says the same
                    self._unsent.pop()
            except OSError:
                self._unsent.clear()
