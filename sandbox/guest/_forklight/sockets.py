"""Which sockets the import of the user's code has left open: every instance of a template would share them."""

import os
import socket
import stat

_MAX_TOLD = 10
_MAX_CHARS = 200


def open_sockets(apart: "set[int]") -> "list[str]":
    """What each open socket is, but for the descriptors `apart`: `TCP to 10.0.0.5:5432`, `UDP on 0.0.0.0:53`.

    Of many, the first ten.
    """
    told = []
    for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            if fd not in apart and stat.S_ISSOCK(os.fstat(fd).st_mode):
                told.append(_told(fd)[:_MAX_CHARS])
        except OSError:  # the descriptor of the listing itself
            continue
    return told[:_MAX_TOLD]


def _told(fd: int) -> str:
    with socket.socket(fileno=os.dup(fd)) as found:
        kind = _kind(found)
        if found.family == socket.AF_UNIX and not (found.getsockname() or found.getpeername()):
            return "a unix socket without a name"
        try:
            return f"{kind} to {_address(found.getpeername())}"
        except OSError:
            return f"{kind} on {_address(found.getsockname())}"


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
