"""Stop listening without resetting anybody.

Closing a listening socket resets every connection that the kernel has completed but nobody has accepted, although its
client may have sent a request already. So new ones are held off first: a filter on the socket drops SYN segments, which
their clients repeat a second later (RFC 6298) and then find refused. Handshakes that were under way complete, the queue
is accepted to its end, and only then is the socket closed. A unix socket has no handshakes: its queue is emptied.

Some kernels let only root set a filter. An ordinary user's socket is closed in the moment its queue is found empty:
what connects within those microseconds is reset.
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
    held_off = [_hold_off(descriptor) for descriptor in descriptors]
    if all(held_off):
        await _until_accepted(descriptors)
        await anyio.sleep(_HANDSHAKE_S)
    await _until_accepted(descriptors)
    server.close()


def _hold_off(descriptor: int) -> bool:
    """Have the kernel drop what would begin a new connection; whether it does."""
    with socket.socket(fileno=os.dup(descriptor)) as listener:
        if listener.family == socket.AF_UNIX:
            return False
        program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
        count = len(_DROP_SYN) // struct.calcsize("HBBI")
        try:
            listener.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", count, ctypes.addressof(program))
            )
        except PermissionError:
            return False
    return True


async def _until_accepted(descriptors: list[int]) -> None:
    """Let the event loop accept until nobody is left in the queues. Those that still come are few: SYN is dropped."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    while poll.poll(0):
        await anyio.lowlevel.checkpoint()
