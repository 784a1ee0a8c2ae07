"""Control messages in zygotes and templates: JSON over SOCK_SEQPACKET, descriptors by SCM_RIGHTS.

A peer that died with unread data causes EPIPE or ECONNRESET; both count as end of file.
"""

import array
import json
import os
import socket
from collections.abc import Iterable
from typing import Any

from .wire import MAX_DESCRIPTORS, MAX_MESSAGE_BYTES


class Ended(Exception):
    """The server has closed its end: it is gone, or needs this process no more."""


def receive(control: socket.socket) -> "tuple[dict[str, Any], list[int]]":
    """Block for one message; its descriptors are close-on-exec. Raises Ended."""
    text, fds = "", []
    while True:
        try:
            data, new = _receive_part(control)
        except (ConnectionResetError, BrokenPipeError):
            raise Ended from None
        if not data:
            raise Ended
        fds += new
        message = json.loads(data)
        if "part" not in message:
            return message, fds
        text += message["part"]
        if not message.get("more"):
            return json.loads(text), fds


def _receive_part(control: socket.socket) -> "tuple[bytes, list[int]]":
    """Like socket.recv_fds, which ignores its flags (CPython issue 107898): its descriptors would survive an exec."""
    fds = array.array("i")
    room = socket.CMSG_LEN(MAX_DESCRIPTORS * fds.itemsize)
    data, ancillary, _, _ = control.recvmsg(MAX_MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content)
    return data, fds.tolist()


def send(control: socket.socket, message: "dict[str, Any]", fds: "tuple[int, ...]" = ()) -> None:
    """Send one message with copies of `fds`. Raises Ended."""
    try:
        socket.send_fds(control, [json.dumps(message).encode()], fds)
    except (ConnectionResetError, BrokenPipeError):
        raise Ended from None


def close(fds: "Iterable[int]") -> None:
    """Close descriptors that a child has inherited."""
    for fd in fds:
        os.close(fd)
