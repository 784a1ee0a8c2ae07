"""The instance: one process that runs one function for one event after another, until the dispatcher closes its end.

A sync handler runs in the main thread between a blocking read and a write. At the deadline the dispatcher sends
SIGTERM, which raises SystemExit in the handler so that its `finally` blocks run; a handler that does not answer within
the grace is killed from outside. Async handlers live in `aio.py`.
"""

import fcntl
import gc
import os
import signal
import socket
import sys
import termios
from types import FrameType
from typing import Any, NoReturn

from . import handler, invocation, logs, posix, wire

_NO_BYTES = bytes(4)


def main(function: "handler.Function", message: "dict[str, Any]", fds: "list[int]", stack: int) -> NoReturn:
    """Take on what is this instance's own, then serve. `fds`: data socket, log, lifeline, stack. Never returns."""
    data, log, lifeline, own_stack = fds
    if message["t"] == "fork":
        os.setsid()
    for source, target in ((log, 1), (log, 2), (own_stack, stack)):
        os.dup2(source, target, inheritable=target < 3)
    os.close(own_stack)
    posix.arm_lifeline(lifeline)
    posix.become_subreaper()
    _make_own(message["env"])
    gc.enable()
    connection = socket.socket(fileno=data)
    connection.settimeout(None)  # the function may have called socket.setdefaulttimeout
    status = 1
    try:
        status = _serve(function, connection, log, stack)
    finally:
        logs.flush()
        os._exit(status)


def _make_own(env: "dict[str, str]") -> None:
    """What siblings must not share: private folders and random numbers (`random` reseeds itself after a fork)."""
    for name, value in env.items():  # update() runs code of an abstract class, whose pages a fork would have to copy
        os.environ[name] = value
    if "tempfile" in sys.modules:
        sys.modules["tempfile"].tempdir = None  # type: ignore[attr-defined]
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _serve(function: "handler.Function", connection: socket.socket, log: int, stack: int) -> int:
    """Answer calls until end of file, then run the `stop` hook; the exit status."""
    sync = None if function.is_async else _Sync(function, connection, log)
    try:
        function.run_hook("after_fork")
    except handler.LoadError as error:
        return _refuse(connection, error)
    try:
        if sync is None:
            from . import aio

            aio.serve(function, connection, log, stack)
        else:
            sync.serve()
            function.run_hook("stop")
    except handler.LoadError as error:  # nobody waits for a `stop` hook: its failure is told in the log
        sys.stderr.write(f"{error.message}\n{error.traceback}")
        return 1
    return 0


def _refuse(connection: socket.socket, error: "handler.LoadError") -> int:
    """An instance whose `after_fork` hook failed says so to its first event, and ends."""
    frame = wire.read(connection, wire.Frames())
    if frame is not None:
        fail = {"t": "fail", "i": frame[0]["i"], "kind": "load", "code": error.code, "message": error.message}
        send(connection, invocation.Reply(fail | {"traceback": error.traceback}, []))
    return 1


class _Sync:
    """The serve loop of a sync handler."""

    def __init__(self, function: "handler.Function", connection: socket.socket, log: int) -> None:
        self._function = function
        self._connection = connection
        self._log = log
        self._running = False
        self._expired = False
        self._heed_deadlines()  # already in a hook: the default action would leave no stack
        os.register_at_fork(before=_hold_sigterm, after_in_parent=_release_sigterm, after_in_child=_forget_deadlines)

    def serve(self) -> None:
        """Read, run, write, until the dispatcher closes its end."""
        self._heed_deadlines()  # a hook may have set a handler of its own
        frames = wire.Frames()
        while True:
            frame = wire.read(self._connection, frames)
            if frame is None:
                return
            head, body = frame
            if head["t"] != "invoke":  # a `cancel` that SIGTERM has overtaken
                continue
            self._running = True
            try:
                reply = invocation.run(self._function, head, body, lambda: self._expired)
            except SystemExit:  # the deadline struck in our own code, outside the handler: silence says it too
                return
            self._running = False
            reply.header["log"] = has_unread_log(self._log)
            send(self._connection, reply)

    def _heed_deadlines(self) -> None:
        signal.signal(signal.SIGTERM, self._on_deadline)

    def _on_deadline(self, _signal: int, _frame: FrameType | None) -> None:
        if self._running:
            self._expired = True
            raise SystemExit("the deadline has passed")


def _hold_sigterm() -> None:
    """Python forgets a signal that reaches a fresh child before it knows that it is one: hold it back until then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _forget_deadlines() -> None:
    """In a child of the handler SIGTERM does what it does in every other process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release_sigterm()


def has_unread_log(log: int) -> int:
    """1 if the log pipe holds bytes of this call: the dispatcher must read them before it ends the call.

    Asking the pipe (FIONREAD, ioctl_pipe) also covers what child processes and C code wrote.
    """
    return int(fcntl.ioctl(log, termios.FIONREAD, _NO_BYTES) != _NO_BYTES)


def send(connection: socket.socket, reply: "invocation.Reply") -> None:
    """Write a whole reply to a blocking socket; a dispatcher that is gone is noticed by the next read."""
    try:
        for piece in wire.pack(reply.header, reply.chunks):
            connection.sendall(piece)
    except ConnectionError:
        pass
