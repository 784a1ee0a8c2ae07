"""Whose a connection is: the Runtime API answers to the command of its own instance only, and what that has started.

Theory of operation. A function that shares the machine's network shares the loopback interface with every process of
the machine, and the instances of one box share theirs. So the address of the Runtime API is no secret, and a stranger
who got an event would also answer it. The kernel tells the inode of the socket at the other end (/proc/net/tcp in
proc(5)) and who has it open (/proc/PID/fd), which must be a descendant of this process. A connection is looked at once.

/proc may be that of an outer pid namespace, so all pids here are those that it shows.
"""

import contextlib
import os
import socket
import struct

_MAX_PROCESSES = 10_000


def is_own(connection: socket.socket) -> "bool | None":
    """Whether a process below this one holds the other end of a connection by IPv4 through the loopback interface.

    None if nobody holds it any more: a client that is killed, as at a deadline, leaves what it has just opened.
    """
    if _is_held_below(connection):
        return True
    return None if _end_of_peer(connection) is None else False  # it may have ended while it was looked for


def _is_held_below(connection: socket.socket) -> bool:
    held = _end_of_peer(connection)
    if held is None or held[1] != os.geteuid():
        return False
    inode = held[0]
    return any(_holds(pid, f"socket:[{inode}]") for pid in _below(os.readlink("/proc/self")))


def _end_of_peer(connection: socket.socket) -> "tuple[str, int] | None":
    """The inode and the user of the socket at the other end; None if no process has it any more."""
    try:
        ends = f"{_as_listed(connection.getpeername())} {_as_listed(connection.getsockname())}"
    except OSError:  # it was reset
        return None
    with open("/proc/net/tcp") as listing:
        for line in listing:
            if ends in line:
                fields = line.split()
                return None if fields[9] == "0" else (fields[9], int(fields[7]))
    return None


def _as_listed(address: "tuple[str, int]") -> str:
    """As in /proc/net/tcp: the address as a number in the machine's byte order, in hexadecimal digits."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def _below(pid: str) -> "list[str]":
    """All descendants of a process, as /proc numbers them."""
    found: list[str] = []
    ahead = [pid]
    while ahead and len(found) < _MAX_PROCESSES:
        one = ahead.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as listing:
                    children = listing.read().split()
                found += children
                ahead += children
    return found


def _holds(pid: str, target: str) -> bool:
    """Whether the process has this open. What cannot be looked into, such as a setuid program, has nothing."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # it was closed meanwhile
                if os.readlink(f"/proc/{pid}/fd/{fd}") == target:
                    return True
    return False
