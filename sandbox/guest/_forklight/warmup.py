"""Runs the warm path before the first event: in the zygote, whose memory all share, and in instances started ahead.

The interpreter specialises code as it runs and fills caches in its objects (PEP 659). After a fork each such write
copies a page; done here, it serves all instances. This only saves time: nothing depends on it.
"""

import socket
import threading
import time

from . import control, handler, invocation, wire

_ROUNDS = 20
"""More than the runs after which the interpreter specialises code: 8 in Python 3.11."""
_NEVER_NS = 2**62
_EVENT = {
    "source": "/forklight",
    "type": "forklight.call",
    "datacontenttype": "application/json",
    "call": {"caller": ""},
}


def warm_up() -> None:
    """Send frames, events, replies and control messages to and fro on private sockets; run what a fork runs first."""
    function = handler.Function(name="warm-up", version="", call=_handler, max_result=1024)
    data, control_ends = socket.socketpair(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    frames = wire.Frames()
    # Python calls it in each forked child. With only one thread, it changes nothing.
    reset_threads = getattr(threading, "_after_fork", _nothing)
    try:
        for i in range(_ROUNDS):
            call = wire.encode([i, time.monotonic_ns(), 1, "warm", "warm-up", "1970-01-01T00:00:00Z", {}])
            for piece in wire.pack(call + wire.encode(_EVENT), [b'{"n": 1}']):
                data[0].sendall(piece)
            received, body = wire.read(data[1].fileno(), frames) or ({}, b"")
            reply = invocation.run(function, received, body, lambda: False)
            wire.write(data[1].fileno(), reply.pack(0))
            data[0].recv(wire.ONE_WRITE_BYTES)
            control.send(control_ends[0], _EVENT)
            control.receive(control_ends[1])
            reset_threads()
    finally:
        for end in (*data, *control_ends):
            end.close()


class Empty:
    """An empty call of a function, prepared in its template: all but its handler, and without a trace.

    An instance that no event waits for runs it once, so that its first event finds no page that has to be copied.
    """

    def __init__(self, function: handler.Function) -> None:
        self.function = object.__new__(handler.Function)
        self.function.__dict__.update(function.__dict__, call=_answer_async if function.is_async else _answer)
        """The function with another handler: it has the same context, logger and limits."""
        http = {"method": "POST", "path": "/", "query": {}, "headers": {"host": ""}, "params": {}, "client": ""}
        event = {**_EVENT, "type": "forklight.http.request", "http": http}
        head = {"t": "invoke", "i": 0, "deadline_ns": _NEVER_NS, "attempt": 1, "start": "warm", "event": event}
        (self.frame,) = wire.pack(wire.encode(head), [b'{"n": 1}'])


def _answer(*arguments: object) -> object:
    return {"n": len(arguments)}


async def _answer_async(*arguments: object) -> object:
    return {"n": len(arguments)}


def _handler(event: "dict[str, object]") -> object:
    return {"data": event["data"]}


def _nothing() -> None:
    """For a Python without that function."""
