"""Closes a listening socket without resetting any client.

Closing a listening socket resets every connection that the kernel has completed but the server has not accepted,
although its client may already have sent a request. So new connections are held off first: a filter on the socket drops
SYN segments, which clients repeat a second later (RFC 6298) and then find refused. Handshakes in progress complete, the
queue is accepted to its end, and only then the socket is closed. A unix socket has no handshakes: its queue is emptied.

Some kernels let only root attach a filter. Otherwise the socket refuses every segment whose hop limit is not 255
(ip(7), IP_MINTTL), which segments of ordinary clients never have; a handshake in progress over a real network is reset
then. A connection completed at that moment inherits the limit, and what its client sends is dropped, and retransmitted
later, until `lift_hop_limit` lifts it.
"""

import ctypes
import os
import select
import socket
import struct
from asyncio import AbstractServer

import anyio
import anyio.lowlevel

_SO_ATTACH_FILTER = 26
_IP_MINTTL, _IPV6_MINHOPCOUNT, _HIGHEST_HOPS = 21, 73, 255
_HANDSHAKE_S = 0.1
"""Long enough for the last segment of a handshake, on any network where a drain is worth its wait."""

# Classic BPF (socket(7), SO_ATTACH_FILTER): load the flags of the TCP header, drop the segment if SYN is among them.
_DROP_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (6, 0, 0, 0), (6, 0, 0, 2**32 - 1))
)


async def retire(server: AbstractServer) -> None:
    """Accept the connections that are complete, refuse later ones, and close."""
    descriptors = [listener.fileno() for listener in server.sockets]  # type: ignore[attr-defined]
    for descriptor in descriptors:
        _hold_off(descriptor)
    await _until_accepted(descriptors)
    await anyio.sleep(_HANDSHAKE_S)
    await _until_accepted(descriptors)
    server.close()


def _hold_off(descriptor: int) -> None:
    """Make the kernel drop segments that would begin a new connection."""
    with socket.socket(fileno=os.dup(descriptor)) as listener:
        if listener.family == socket.AF_UNIX:
            return
        program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
        count = len(_DROP_SYN) // struct.calcsize("HBBI")
        filtering = struct.pack("HP", count, ctypes.addressof(program))
        try:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtering)
        except PermissionError:
            if listener.family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, _HIGHEST_HOPS)
            listener.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, _HIGHEST_HOPS)


def lift_hop_limit(connection: socket.socket) -> None:
    """Lift the hop limit that a connection accepted meanwhile may have inherited (inet_csk_clone_lock)."""
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, 0)
    if connection.family == socket.AF_INET6:
        connection.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, 0)


async def _until_accepted(descriptors: list[int]) -> None:
    """Let the event loop accept until the queues are empty. Few connections still arrive, as SYN is dropped."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    while poll.poll(0):
        await anyio.lowlevel.checkpoint()
