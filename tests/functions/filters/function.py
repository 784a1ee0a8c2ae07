"""What a function may still do at level `filters`, and what not."""

import ctypes
import errno
import os
import socket
import sys
import tempfile
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_X86 = os.uname().machine == "x86_64"
_NEW_PIDS = 0x20000000
_MPTCP = 262


def _name(code):
    return errno.errorcode.get(code, str(code))


def _call(x86, arm, *arguments):
    """`done`, or the name of the error."""
    ctypes.set_errno(0)
    result = _libc.syscall(x86 if _X86 else arm, *(ctypes.c_long(one) for one in arguments))
    return "done" if result >= 0 else _name(ctypes.get_errno())


def _try(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return _name(error.errno)
    return "done"


def calls(event):
    """System calls that an ordinary user may make, or that fail for another reason than a filter."""
    room = ctypes.addressof(ctypes.create_string_buffer(512))
    pid, null = os.getpid(), os.open(os.devnull, os.O_RDWR)
    family = {"vsock": 40, "alg": 38}
    sockets = {name: _try(socket.socket, number, socket.SOCK_SEQPACKET) for name, number in family.items()}
    return sockets | {
        "clone3": _call(435, 435, 0, 0),
        "keyctl": _call(250, 219, 0, -3, 0),
        "io_uring_setup": _call(425, 425, 1, 0),
        "userfaultfd": _call(323, 282, 0xFFFF),
        "memfd_secret": _call(447, 447, 0xFFFF),
        "pidfd_getfd": _call(438, 438, -1, 0, 0),
        "process_vm_readv": _call(310, 270, pid, room, 0, room, 0, 0),
        "kcmp": _call(312, 272, pid, pid, 1, 0, 0),
        "bpf": _call(321, 280, 9999, room, 0),
        "unshare": _call(272, 97, 0),
        "setns": _call(308, 268, null, _NEW_PIDS),
        "tiocsti": _call(16, 29, null, 0x5412, room),
        "ptrace": _call(101, 117, 9999, 0, 0, 0),
        "open_tree": _call(428, 428, -1, 0, 0),
    }


def _read(path):
    with open(path, "rb") as file:
        file.read(1)


def _touch(path):
    with open(path, "a"):
        pass


def files(event):
    """What comes of it to read each of the `read` files, and to add a file to each of the `write` folders."""
    found = {path: _try(os.listdir if os.path.isdir(path) else _read, path) for path in event["data"]["read"]}
    return found | {f"w {path}": _try(_touch, os.path.join(path, "touched")) for path in event["data"]["write"]}


def own_files(event):
    """Everything that can be done in a private folder."""
    here = Path(tempfile.gettempdir())
    (here / "one").mkdir()
    (here / "two").mkdir()
    (here / "one" / "file").write_text("text")
    (here / "one" / "file").rename(here / "two" / "file")
    os.link(here / "two" / "file", here / "one" / "link")
    os.truncate(here / "one" / "link", 2)
    (here / "one" / "symbolic").symlink_to("link")
    os.mkfifo(here / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(here / "socket"))
    with open("/dev/null", "w") as null:
        null.write("x")
    return (here / "one" / "symbolic").read_text()


def network(event):
    """How far a function without a network comes."""
    here, there = socket.socketpair()
    here.send(b"x")
    return {
        "ipv4": _try(socket.socket, socket.AF_INET),
        "ipv6": _try(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM),
        "connect": _try(socket.create_connection, ("127.0.0.1", event["data"])),
        "local": there.recv(1).decode(),
        "interfaces": [name for _, name in socket.if_nameindex() if name == "lo"],
        "address": socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4][0],
    }


def _double(number):
    return 2 * number


async def _program():
    import asyncio

    process = await asyncio.create_subprocess_exec("echo", "asyncio", stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode().strip()


def libraries(event):
    """What common programs need of the system."""
    import asyncio
    import multiprocessing
    import pwd
    import sqlite3
    import ssl
    import subprocess
    import threading
    import zoneinfo

    said = []
    thread = threading.Thread(target=said.append, args=["thread"])
    thread.start()
    thread.join()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        doubled = pool.map(_double, [1, 2, 3])
    with multiprocessing.get_context("spawn").Manager() as manager:
        managed = manager.list([1])[0]
    with sqlite3.connect(Path(tempfile.gettempdir(), "data.db")) as database:
        database.execute("create table t (x)")
    echoed = subprocess.run(["sh", "-c", "cat | tr a-z A-Z"], input="shell", capture_output=True, text=True, check=True)
    program = [sys.executable, "-c", "import json, sys; print(sys.prefix)"]
    python = subprocess.run(program, capture_output=True, text=True)
    return {
        "thread": said,
        "pool": doubled,
        "manager": managed,
        "shell": echoed.stdout,
        "python": python.stdout.strip() or python.stderr,
        "asyncio": asyncio.run(_program()),
        "idna": "bücher.example".encode("idna").decode(),
        "certificates": ssl.create_default_context() is not None,
        "zone": str(zoneinfo.ZoneInfo("Asia/Tokyo")),
        "user": bool(pwd.getpwuid(os.getuid()).pw_name),
        "processors": os.cpu_count() >= 1,
        "status": "Seccomp:" in Path("/proc/self/status").read_text(),
    }


def fails(event):
    """Raises what the function is not allowed to do."""
    how, what = event["data"]
    {
        "read": lambda: _read(what),
        "write": lambda: _touch(what),
        "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
        "resolve": lambda: socket.getaddrinfo(what, 80),
    }[how]()


def connects(event):
    """How a connection to each port of this machine ends, whether a datagram leaves, and what leads past the rules."""
    found = []
    for port in event["data"]:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20):
                found.append("connected")
        except OSError as error:
            found.append(error.strerror)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        found.append(datagrams.sendto(b"x", ("127.0.0.1", 9)))
    with socket.socket() as fast:
        found.append(_try(fast.sendto, b"x", socket.MSG_FASTOPEN, ("127.0.0.1", event["data"][-1])))
    return [*found, _try(socket.socket, socket.AF_INET, socket.SOCK_STREAM, _MPTCP)]
