"""Describes a socket that an import has left open, and decides whether instances may share it."""

import contextlib
import os
import socket

_DATAGRAMS = {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}


def described(fd: int) -> "tuple[str, bool]":
    """A description such as `TCP to 10.0.0.5:5432`, and whether forks may share the socket.

    A listening socket gives each connection to one process, and a datagram is sent whole. On a shared connection, one
    process would read the answer to another. Raises OSError if `fd` is not a socket.
    """
    with socket.socket(fileno=os.dup(fd)) as found:
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        sends = found.type == socket.SOCK_DGRAM and found.family in _DATAGRAMS
        return _description(found), bool(listens or sends)


def _description(found: socket.socket) -> str:
    kind = _kind(found)
    peer = name = None
    with contextlib.suppress(OSError):
        name = found.getsockname()
    with contextlib.suppress(OSError):
        peer = found.getpeername()
    if found.family == socket.AF_UNIX and not (name or peer):
        return "a unix socket without a name"
    return f"{kind} on {_address(name)}" if peer is None else f"{kind} to {_address(peer)}"


def _kind(found: socket.socket) -> str:
    if found.family in (socket.AF_INET, socket.AF_INET6):
        return "TCP" if found.type == socket.SOCK_STREAM else "UDP"
    return "unix socket" if found.family == socket.AF_UNIX else "socket"


def _address(address: object) -> str:
    if isinstance(address, tuple) and len(address) > 1:
        return f"{address[0]}:{address[1]}"
    if isinstance(address, bytes):
        address = os.fsdecode(address)
    return str(address).replace("\0", "@")
