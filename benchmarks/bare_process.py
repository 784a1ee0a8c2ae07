"""What the tree is measured beside: a process of the template's size that does nothing but the bare thing.

Run as `PYTHON -I bare_process.py CONNECTION_FD MODE GUEST CODE MODULE`, never imported. It imports what a template has
imported, and treats its garbage as a template does. MODE `echo` sends back what it receives; MODE `fork` answers each
byte with the time (u64 nanoseconds, native) from an `os.fork()` to the first byte of the child, then reaps the child.
"""

import gc
import os
import socket
import struct
import sys
import time


def load(guest: str, code: str, module: str) -> None:
    """Import what a template has after its load."""
    sys.path.insert(0, guest)
    for name in ("zygote", "template", "instance", "invocation"):
        __import__(f"_forklight.{name}")
    sys.path[0] = code
    __import__(module)
    gc.collect()
    gc.freeze()
    gc.disable()


def echo(connection: socket.socket) -> None:
    """Send back whatever comes."""
    while data := connection.recv(64 * 1024):
        connection.sendall(data)


def fork(connection: socket.socket) -> None:
    """Fork once for each byte that comes."""
    while connection.recv(1):
        connection.sendall(struct.pack("=Q", fork_ns()))


def fork_ns() -> int:
    """The time from the fork to the child's first byte."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        begin_ns = time.monotonic_ns()
        pid = os.fork()
        if pid == 0:
            theirs.sendall(b".")
            os._exit(0)
        ours.recv(1)
        end_ns = time.monotonic_ns()
    os.waitpid(pid, 0)
    return end_ns - begin_ns


if __name__ == "__main__":
    load(*sys.argv[3:])
    with socket.socket(fileno=int(sys.argv[1])) as dispatcher:
        dispatcher.sendall(b".")  # loaded
        {"echo": echo, "fork": fork}[sys.argv[2]](dispatcher)
