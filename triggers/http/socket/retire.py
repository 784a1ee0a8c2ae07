"""Stop listening without resetting anybody.

Closing a listening socket resets every connection that the kernel has completed but nobody has accepted, although its
client may have sent a request already. So new ones are held off first: a filter on the socket drops SYN segments, which
their clients repeat a second later (RFC 6298) and then find refused. Handshakes that were under way complete, the queue
is accepted to its end, and only then is the socket closed. A unix socket has no handshakes: its queue is emptied.

Some kernels let only root set a filter. An ordinary user's socket then refuses every segment whose hop limit is not 255
(ip(7), IP_MINTTL), which those of ordinary clients never have; a handshake under way over a real network is reset then.
A connection that is completed in that very moment inherits the limit, and what its client sends is not heard until
`hear` lifts it: then it is sent again.
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
"""Long enough for the last segment of a handshake under way, on any network a drain is worth waiting for."""

# Classic BPF (socket(7), SO_ATTACH_FILTER): load the flags of the TCP header, drop the segment if SYN is among them.
_DROP_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (6, 0, 0, 0), (6, 0, 0, 2**32 - 1))
)


async def retire(server: AbstractServer) -> None:
    """Accept what has connected, refuse what comes later, close."""
    descriptors = [listener.fileno() for listener in server.sockets]  # type: ignore[attr-defined]
    for descriptor in descriptors:
        _hold_off(descriptor)
    await _until_accepted(descriptors)
    await anyio.sleep(_HANDSHAKE_S)
    await _until_accepted(descriptors)
    server.close()


def _hold_off(descriptor: int) -> None:
    """Have the kernel drop what would begin a new connection."""
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


def hear(connection: socket.socket) -> None:
    """Lift the hop limit that a connection accepted while we retire may have inherited (inet_csk_clone_lock)."""
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, 0)
    if connection.family == socket.AF_INET6:
        connection.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, 0)


async def _until_accepted(descriptors: list[int]) -> None:
    """Let the event loop accept until nobody is left in the queues. Those that still come are few: SYN is dropped."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    while poll.poll(0):
        await anyio.lowlevel.checkpoint()
