"""What a function does with a network: clients of TCP, and attempts at everything else."""

import hashlib
import os
import socket
import stat
import time


def _why(error):
    return f"{type(error).__name__}: {error.strerror or error}"


def talk(event):
    """Send so many bytes, end this direction, and read the whole answer."""
    host, port, size = event["data"]
    with socket.create_connection((host, port), timeout=20) as connection:
        block = bytes(range(256)) * 256
        for at in range(0, size, len(block)):
            connection.sendall(block[: size - at])
        connection.shutdown(socket.SHUT_WR)
        seen, length = hashlib.sha256(), 0
        while data := connection.recv(65536):
            seen.update(data)
            length += len(data)
    return [length, seen.hexdigest()]


def tries(event):
    """How each connection ends: what it gets first, or why it gets nothing."""
    found = []
    for host, port in event["data"]:
        try:
            with socket.create_connection((host, port), timeout=20) as connection:
                found.append(connection.recv(100).decode() or "ended")
        except OSError as error:
            found.append(_why(error))
    return found


def around(event):
    """What else there is of a network."""
    found = {"listening": 0, "names": {}, "own": socket.gethostbyname(socket.gethostname())}
    for fd in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(fd)).st_mode):
                with socket.socket(fileno=os.dup(int(fd))) as one:
                    found["listening"] += one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            continue
    for name in event["data"]:
        begun = time.monotonic()
        try:
            found["names"][name] = socket.gethostbyname(name)
        except OSError as error:
            found["names"][name] = error.strerror
        assert time.monotonic() - begun < 10
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        try:
            datagrams.sendto(b"x", ("192.0.2.1", 53))
            found["datagram"] = "sent"
        except OSError as error:
            found["datagram"] = error.strerror
    return found
