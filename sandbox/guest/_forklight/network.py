"""The sockets through which a function in a box reaches what it may reach: made by its template, before its import.

In the network of the box, which has a loopback interface only, every address of 127.0.0.0/8 exists. Any other address
has to be added to that interface, for which the template still has the capability. Source: rtnetlink(7).
"""

import os
import socket
import struct

_RTM_NEWADDR = 20
_REQUEST, _ACK, _REPLACE, _CREATE = 0x1, 0x4, 0x100, 0x400
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NO_DUPLICATE_DETECTION = 0x02
_LOOPBACK = 1
"""The index of the loopback interface in every network namespace."""
_BACKLOG = 128


def listen(places: "list[tuple[str, int]]") -> "list[socket.socket]":
    """Listen at these addresses and ports. Raises OSError, with the address as its file name."""
    sockets: list[socket.socket] = []
    added: set[str] = set()
    for address, port in places:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            if not address.startswith("127.") and address not in added | {"::1"}:
                _add_address(family, address)
                added.add(address)
            listener = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            for one in sockets:
                one.close()
            raise OSError(error.errno, error.strerror, address) from None
    return sockets


def _add_address(family: int, address: str) -> None:
    packed = socket.inet_pton(family, address)
    attributes = b"".join(struct.pack("=HH", 4 + len(packed), kind) + packed for kind in (_IFA_LOCAL, _IFA_ADDRESS))
    body = struct.pack("=BBBBI", family, 8 * len(packed), _NO_DUPLICATE_DETECTION, 0, _LOOPBACK) + attributes
    header = struct.pack("=IHHII", 16 + len(body), _RTM_NEWADDR, _REQUEST | _ACK | _CREATE | _REPLACE, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(header + body)
        answer = netlink.recv(4096)
    (error,) = struct.unpack_from("=i", answer, 16)
    if error:
        raise OSError(-error, os.strerror(-error))
