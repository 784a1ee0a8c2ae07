"""The listening socket: made from `host:port`, or given by whoever started us."""

import errno
import socket
from asyncio import AbstractServer, get_running_loop
from collections.abc import Callable

from triggers.http.connection import Connection
from triggers.http.errors import ListenError
from triggers.http.settings import HttpSettings

_CAUSES = {
    errno.EADDRINUSE: "the address is in use; stop the program that has it, or listen elsewhere",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "that needs privileges; take a port from 1024 up",
}


def parse_listen(listen: str) -> tuple[str, int]:
    """`host:port`, `[::1]:port` → (host, port). Raises ListenError."""
    host, separator, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ListenError(f"cannot listen on {listen!r}: write host:port, for instance 127.0.0.1:8080")
    return host, int(port)


async def bind(settings: HttpSettings, make: Callable[[], Connection], given: socket.socket | None) -> AbstractServer:
    """A server that has its address and does not accept yet. `given` is a socket to use instead of `settings.listen`.

    Raises ListenError.
    """
    loop = get_running_loop()
    try:
        if given is not None:
            return await loop.create_server(make, sock=given, backlog=settings.backlog, start_serving=False)
        host, port = parse_listen(settings.listen)
        return await loop.create_server(make, host, port, backlog=settings.backlog, start_serving=False)
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {settings.listen}: the name is unknown ({error.strerror})") from error
    except OSError as error:
        where = settings.listen if given is None else f"the given socket {given.getsockname()!r}"
        cause = _CAUSES.get(error.errno or 0, error.strerror or str(error))
        raise ListenError(f"cannot listen on {where}: {cause}") from error


def port_of(server: AbstractServer) -> int:
    """The port that is listened on; 0 for a unix socket."""
    name = server.sockets[0].getsockname()  # type: ignore[attr-defined]
    return int(name[1]) if isinstance(name, tuple) else 0
