"""Handlers that find the socket they are called through, and abuse it."""

import json
import os
import random
import socket
import stat
import struct
import time


def line():
    """The data socket: the only socket this process has."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                return socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
    raise LookupError


def frame(header, body=b""):
    head = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack(">II", len(head), len(body)) + head + body


OK = {"t": "ok", "i": 1, "status": 200, "type": "text/plain", "length": 0}
FAIL = {"t": "fail", "i": 1, "kind": "error", "code": "E", "message": "m"}
WRONG = {
    "wrong_id": frame(OK | {"i": 999}),
    "negative_id": frame(OK | {"i": -1}),
    "illegal_kind": frame(OK | {"t": "invoke"}),
    "no_kind": frame({"i": 1}),
    "early_timeout": frame(FAIL | {"kind": "timeout"}),
    "unknown_failure": frame(FAIL | {"kind": "throttled"}),
    "bad_status": frame(OK | {"status": 99}),
    "bad_types": frame(OK | {"status": "200"}),
    "bad_headers": frame(OK | {"headers": [["only one"]]}),
    "wrong_length": frame(OK | {"length": 5}, b"1234"),
    "negative_length": frame(OK | {"length": -4, "out": [["send", "q", "t", 8, 0.0, None, {}]]}, b"1234"),
    "huge_number": frame(OK | {"cpu_ns": 10**4000}),
    "huge_header": struct.pack(">II", 0xFFFFFFFF, 0),
    "huge_body": struct.pack(">II", 2, 0xFFFFFFFF) + b"{}",
    "too_big_a_body": struct.pack(">II", 2, 6 * 1024 * 1024 + 1) + b"{}",
    "garbage": random.Random(7).randbytes(100_000),
    "text": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "deep": frame(b'{"t":"ok","i":1,"length":0,"x":' + b"[" * 500_000),
    "not_utf8": frame(b'{"t":"fail","i":1,"kind":"error","code":"E","message":"\xff\xfe"}'),
    "empty_header": frame(b""),
    "null": frame(b"null"),
    "head_unasked": frame({"t": "head", "i": 1}),
    "chunk_unasked": frame({"t": "chunk", "i": 1}, b"1234"),
    "end_unasked": frame({"t": "end", "i": 1}),
    "credit_unasked": frame({"t": "credit", "i": 1, "bytes": 1}),
    "call_unasked": frame({"t": "call", "i": 1, "c": 1, "function": "f"}),
}


def wrong(event):
    line().sendall(WRONG[event["data"]])
    time.sleep(1000)


def replies_twice(event):
    line().sendall(frame(OK | {"length": 5}, b"first"))
    return "second"


def half_a_frame(event):
    line().sendall(frame(OK | {"length": 5}, b"first")[:-3])
    os._exit(4)


def slow_drip(event):
    connection = line()
    for byte in frame(OK | {"type": "x" * 1_000_000}):
        connection.send(bytes([byte]))
        time.sleep(0.01)


def endless_body(event):
    """As much as the function may send, and never the end of it."""
    connection = line()
    size = 6 * 1024 * 1024
    header = b'{"t":"ok","i":1,"length":%d}' % size
    connection.sendall(struct.pack(">II", len(header), size) + header + b"x" * (size - 1))
    time.sleep(1000)


def shuts_down(event):
    line().shutdown(socket.SHUT_RDWR)
    time.sleep(1000)


def floods_the_log(event):
    while True:
        os.write(1, b"spam spam spam\n" * 4000)


def floods_with_children(event):
    for _ in range(8):
        if os.fork() == 0:
            floods_the_log(event)
    time.sleep(1000)


def fork_chain(event):
    """Processes that end as soon as they have forked the next: whoever kills must be faster, or persistent."""
    for _ in range(4):
        if os.fork() == 0:
            os.setsid()
            while True:
                if os.fork():
                    os._exit(0)
    time.sleep(1000)


def hangs():
    while True:
        pass


def handler(event):
    return "never read"


def replies_for_a_neighbour(event):
    """All that a process of the same user can reach through /proc of another: nothing."""
    reached = []
    for pid in event["data"]:
        for what in ("fd", "mem", "environ", "maps", "cwd"):
            try:
                os.listdir(f"/proc/{pid}/fd") if what == "fd" else open(f"/proc/{pid}/{what}", "rb").read(1)
                reached.append(f"{pid} {what}")
            except OSError:
                continue
    return reached
