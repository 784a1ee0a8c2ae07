"""Opens the listening socket: from `host:port` or `unix:/path`, or takes one that was inherited."""

import errno
import os
import socket
import stat
import sys
from asyncio import AbstractServer, BaseProtocol, get_running_loop
from collections.abc import Callable
from pathlib import Path
from typing import Any

from triggers.http.errors import ListenError
from triggers.http.settings import HttpSettings

_CAUSES = {
    errno.EADDRINUSE: "the address is in use; stop the program that uses it, or listen elsewhere",
    errno.EADDRNOTAVAIL: "this machine does not have that address; 127.0.0.1 takes local clients only, 0.0.0.0 any",
    errno.EACCES: "this needs privileges; use a port of 1024 or higher",
}
_UNIX = "unix:"
_SOCKET_MODE = 0o660
"""Owner and group may connect, so a proxy must be in the group."""
_LONGEST_PATH = 107
"""In bytes, of a unix socket (unix(7))."""

_LEFT_ALONE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
"""The server removes the socket itself, and only the one that it made."""


def unix_path(listen: str) -> Path | None:
    """`unix:/run/x.sock` → its path; None for `host:port`. Raises ListenError."""
    if not listen.startswith(_UNIX):
        return None
    path = listen.removeprefix(_UNIX)
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ListenError(f"cannot listen on {listen!r}: write an absolute path, for instance unix:/run/forklight.sock")
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ListenError(f"cannot listen on {listen!r}: a socket path has at most {_LONGEST_PATH} bytes")
    return Path(path)


def parse_listen(listen: str) -> tuple[str, int]:
    """`host:port`, `[::1]:port` → (host, port). Raises ListenError."""
    host, separator, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ListenError(f"cannot listen on {listen!r}: write host:port, for instance 127.0.0.1:8080")
    return host, int(port)


async def bind(settings: HttpSettings, make: Callable[[], BaseProtocol], given: socket.socket | None) -> AbstractServer:
    """Return a bound server that does not accept yet. `given` is used instead of `settings.listen`.

    Raises ListenError.
    """
    loop = get_running_loop()
    try:
        path = unix_path(settings.listen)
        if given is None and path is not None:
            given = open_unix(path)
        if given is not None and given.family == socket.AF_UNIX:
            options: dict[str, Any] = {"sock": given, "backlog": settings.backlog, "start_serving": False} | _LEFT_ALONE
            return await loop.create_unix_server(make, **options)
        if given is not None:
            return await loop.create_server(make, sock=given, backlog=settings.backlog, start_serving=False)
        host, port = parse_listen(settings.listen)
        return await loop.create_server(make, host, port, backlog=settings.backlog, start_serving=False)
    except socket.gaierror as error:
        raise ListenError(
            f"cannot listen on {settings.listen}: the host name cannot be resolved ({error.strerror})"
        ) from error
    except OSError as error:
        where = settings.listen if given is None else f"the given socket {given.getsockname()!r}"
        cause = _CAUSES.get(error.errno or 0, error.strerror or str(error))
        raise ListenError(f"cannot listen on {where}: {cause}") from error


def open_unix(path: Path) -> socket.socket:
    """Bind a socket to the path, replacing a stale one. Raises ListenError, OSError."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(_SOCKET_MODE)  # before anyone can connect: it does not listen yet
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {_UNIX}{path}: {error.strerror}") from error
    return listener


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise ListenError(f"cannot listen on {_UNIX}{path}: a file that is not a socket is there; remove it")
            if probe.connect_ex(os.fspath(path)) != errno.ECONNREFUSED:
                raise ListenError(f"cannot listen on {_UNIX}{path}: another program is listening there; stop it")
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ListenError(f"cannot listen on {_UNIX}{path}: {error.strerror}") from error


def identity_of(path: Path | None) -> tuple[int, int] | None:
    """Identify the file at the path, to distinguish it from a later one."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found is not None else None


def port_of(server: AbstractServer) -> int:
    """The port of the server; 0 for a unix socket."""
    name = server.sockets[0].getsockname()  # type: ignore[attr-defined]
    return int(name[1]) if isinstance(name, tuple) else 0
