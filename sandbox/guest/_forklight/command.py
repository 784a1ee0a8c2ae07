"""An instance that runs a command: it serves AWS Lambda's Runtime API to it, and the server's frames become events.

Theory of operation. The instance itself is this process, so all that the server does with an instance holds. It listens
on the loopback interface, starts the command as its child, and is ready at the command's first question for an event.
One event is open at a time. The command's answer ends the call; a call that is not answered when the command ends, ends
as the command did, because this process then ends in the same way. A command that ends between two calls is started
again for the next event. At the deadline the command gets SIGTERM, as a handler in Python does, and its instance is not
used again, whatever it makes of that.

Nothing here blocks except reading a frame that has begun and writing one: the server is trusted to be there.

Besides AWS's interface (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html) there is one of our own, for
what a handler finds in its context: `POST /forklight/v1/send/QUEUE` and `POST /forklight/v1/spawn/FUNCTION`.
"""

import os
import selectors
import signal
import sys
import time
from typing import Any, NoReturn
from urllib.parse import unquote

from . import command_outputs, lambda_answers, logs, posix, wire
from .child import Child, Command, die_like
from .command_call import Call
from .decoding import Undecodable
from .encoding import Unencodable
from .http_requests import Request, response
from .imports import LoadError
from .lambda_answers import Failure
from .outputs import ResultTooLarge, check_size
from .program import Program
from .results import Result
from .runtime_api import Api, Connection, problem

_RUNTIME, _OWN = "/2018-06-01/runtime/", "/forklight/v1/"
_OK = response(202, b'{"status":"OK"}')
_NO_SUCH_ID = response(400, problem("InvalidRequestID", "this is not the event that is being handled"))
_NOT_NOW = response(403, problem("InvalidStateTransition", "the event before is not answered yet"))
_TOO_LATE = response(403, problem("InvalidStateTransition", "the command has asked for an event before"))
_NOTHING_OPEN = response(403, problem("InvalidStateTransition", "no event is being handled"))
_ESCAPED = 3
"""How much longer JSON or base64 may be than the result that it stands for."""
_FRAMING_BYTES = 1024 * 1024
_STACK_BYTES = 8 * 1024


class Proxy:
    """One instance. `run` is its whole life."""

    def __init__(self, command: Command, data: int, log: int, memory: int, calls: "int | None", **api: Any) -> None:
        """`memory`: the file that the server reads stacks from; `calls`: how many events it may run."""
        self._command = command
        self._data = data
        self._log = log
        self._memory = memory
        self._left = calls
        self._selector = selectors.DefaultSelector()
        self._frames = wire.Frames()
        most_bytes = _ESCAPED * command.max_result + _FRAMING_BYTES
        self._api = Api(self._selector, most_bytes, self._handle, refused=self._refused, **api)
        self._child: Child | None = None
        self._call: Call | None = None
        self._is_ready = False
        """whether the server knows that events may come"""
        self._has_asked = False
        """whether the child that runs now has asked for an event"""
        self._last_request = ""
        """of a child that has not asked for an event yet"""
        self._is_leaving = self._has_refused = False
        self._end: int | None = None
        """how this process is to end: its exit code, or minus a signal"""

    def run(self) -> int:
        """Serve until the server closes its end, or the command is the reason to end; returns how to end."""
        self._selector.register(self._data, selectors.EVENT_READ, self._readable)
        try:
            self._start()
            while self._end is None:
                self._turn()
            return self._end
        except LoadError as error:
            return self._unfit(error)
        finally:
            self._api.close()
            self._selector.close()
            posix.kill_children()

    def _turn(self) -> None:
        """Wait, and carry out what is ready; the end of the command last, because it may have answered before."""
        ready = [(key.data, mask) for key, mask in self._selector.select()]
        for action, mask in sorted(ready, key=lambda one: one[0] == self._child_ended):
            if self._end is None:
                action(mask)

    def _hear_out(self) -> None:
        """Take what the command has sent before it ended."""
        ours = (self._readable, self._child_ended)
        while heard := [(key.data, mask) for key, mask in self._selector.select(0) if key.data not in ours]:
            for action, mask in heard:
                action(mask)

    def _start(self) -> None:
        self._has_asked = False
        self._child = child = Child(self._command, self._api.address)
        self._selector.register(child.pidfd, selectors.EVENT_READ, self._child_ended)

    # What the server says

    def _readable(self, _mask: int) -> None:
        try:
            count = self._frames.read(self._data)
        except ConnectionError:
            count = 0
        if not count:
            self._leave()
            return
        while (frame := self._frames.next()) is not None:
            head, body = frame
            if head["t"] == "invoke":
                self._begin(head, body)
            elif head["t"] == "cancel" and self._call is not None and head["i"] == self._call.i:
                self._overdue(self._call)

    def _begin(self, head: "dict[str, Any]", body: bytes) -> None:
        """Take an event, and a command for it if the last one has ended. Raises LoadError."""
        command = self._command
        self._call = call = Call(head, command.max_result, self._cpu_ns())
        try:
            call.read(body, command.form, command.function, command.region)
        except (Undecodable, Unencodable) as error:
            self._fail(Failure(type(error).__name__, str(error)))
            return
        if self._child is None:
            try:
                self._start()
            except LoadError as error:
                self._fail(Failure(error.code, error.message))
                return
        self._offer()

    def describe(self, _signal: int, _frame: object) -> None:
        """Tell the server what the command does, where another process has its stack. A handler of STACK_SIGNAL."""
        if self._child is not None:
            asked = "" if self._is_ready else f"its last request of the Runtime API: {self._last_request or 'none'}\n"
            os.write(self._memory, f"{asked}{self._child.described()}".encode(errors="replace")[:_STACK_BYTES])

    def _overdue(self, call: Call) -> None:
        """The deadline has passed: ask the command to end."""
        call.is_overdue = True
        if self._child is not None:
            self._child.ask_to_end()

    def _leave(self) -> None:
        """There will be no more events. The server kills what has not ended within the grace."""
        self._is_leaving = True
        self._selector.unregister(self._data)
        if self._child is None:
            self._end = 0
        else:
            self._child.ask_to_end()

    # What becomes of the command

    def _child_ended(self, _mask: int) -> None:
        assert self._child is not None
        child, self._child = self._child, None
        self._selector.unregister(child.pidfd)
        self._hear_out()
        code = child.reap()
        self._api.close_all()
        posix.kill_children()
        how = _ending(code)
        if self._end is not None:  # it has told why it cannot begin, and ended at once
            return
        if not self._is_ready:
            message = f"the command {self._command.name} ended with {how} before it asked for an event"
            self._end = self._unfit(LoadError("InitFailed", message))
        elif self._call is not None:
            self._ended_in_call(self._call, code, how)
        elif self._is_leaving:
            self._end = 0
        else:
            self._told(f"the command {self._command.name} ended with {how}; the next event starts it again")

    def _ended_in_call(self, call: Call, code: int, how: str) -> None:
        if call.is_overdue:
            self._fail(Failure("Timeout", ""))
            self._end = 0
        elif not call.is_offered and self._has_asked:  # it ended before it could know of this event
            self._start()
        else:
            self._told(f"the command {self._command.name} ended with {how} and has not answered")
            self._end = code

    def _unfit(self, error: LoadError) -> int:
        frame = {"t": "unfit", "code": error.code, "message": error.message, "traceback": error.traceback}
        wire.write(self._data, wire.pack(wire.encode(frame), []))
        return 1

    # What the command says

    def _handle(self, request: Request, connection: Connection) -> "bytes | None":
        """The answer to a request; None if it comes later."""
        self._last_request = f"{request.method} {request.path}"
        path = "/" + request.path.partition("?")[0].lstrip("/")  # some clients put a slash behind the address
        if path == f"{_RUNTIME}invocation/next" and request.method == "GET":
            return self._asked(connection)
        parts = path.removeprefix(_RUNTIME).split("/")
        if path.startswith(_RUNTIME) and request.method == "POST":
            if parts == ["init", "error"]:
                return self._init_failed(request)
            if len(parts) == 3 and parts[0] == "invocation" and parts[2] in ("response", "error"):
                return self._answered(request, unquote(parts[1]), parts[2])
        if path.startswith(_OWN) and request.method == "POST":
            kind, _, name = path.removeprefix(_OWN).partition("/")
            if kind in command_outputs.KINDS and name:
                return self._output(kind, unquote(name), request)
        return response(404, problem("NotFound", f"there is no {request.method} {path}"))

    def _asked(self, connection: Connection) -> "bytes | None":
        """It asks for an event, and so has initialized itself."""
        if self._call is not None and self._call.is_offered:
            return _NOT_NOW
        self._api.waiting.append(connection)
        self._has_asked = True
        if not self._is_ready:
            self._is_ready = True
            wire.write(self._data, wire.pack('{"t":"ready"}', []))
        self._offer()
        return None

    def _offer(self) -> None:
        """Hand the event over, once there are both it and somebody who waits for one."""
        call, waiting = self._call, self._api.waiting
        while call is not None and not call.is_offered and waiting:
            connection = waiting.pop(0)
            connection.send(call.offer(self._command.function, self._command.region, self._cpu_ns()))
            call.is_offered = connection.is_open

    def _answered(self, request: Request, request_id: str, how: str) -> bytes:
        """It has answered the event, with a response or an error."""
        call = self._call
        if call is None or not call.is_offered or request_id != call.request_id:
            return _NO_SUCH_ID
        failure = lambda_answers.failure_of(request, is_error=how == "error")
        if failure is not None:
            self._fail(failure)
            return _OK
        if request.body is None:
            message = (
                f"the answer is longer than {self._api.most_bytes} bytes; max_result is {self._command.max_result}"
            )
            self._fail(Failure("ResultTooLarge", message))
            return response(413, problem("ResultTooLarge", message))
        try:
            result = lambda_answers.result_of(request.body, request.headers.get("content-type", ""), call.fields)
            self._succeed(call, result)
        except (Unencodable, ResultTooLarge) as error:
            self._fail(Failure(type(error).__name__, str(error)))
        except lambda_answers.Listed:
            self._fail(Failure("ListedAsFailed", "the command listed the message in batchItemFailures"))
        return _OK

    def _init_failed(self, request: Request) -> bytes:
        """It cannot initialize itself."""
        if self._has_asked:
            return _TOO_LATE
        failure = lambda_answers.error_of(request.body, request.headers)
        message = f"the command {self._command.name} could not initialize itself: {failure.code}: {failure.message}"
        if self._is_ready and self._call is not None:  # not the first one of this instance
            self._fail(Failure(failure.code, message, failure.traceback))
        elif not self._is_ready:
            self._end = self._unfit(LoadError("InitFailed", message, failure.traceback))
        return _OK

    def _output(self, kind: str, name: str, request: Request) -> bytes:
        """It sends a message, or spawns a call."""
        call = self._call
        if call is None or not call.is_offered:
            return _NOTHING_OPEN
        try:
            command_outputs.add(call.outputs, kind, name, request)
        except (TypeError, ValueError) as error:  # and what derives from them: Unencodable, ResultTooLarge
            return response(400, problem(type(error).__name__, str(error)))
        return _OK

    # What the server is told

    def _succeed(self, call: Call, result: Result) -> None:
        """Raises ResultTooLarge."""
        outputs = call.outputs.close()
        length = len(result.body)
        check_size(length, sum(len(body) for _, body in outputs), self._command.max_result)
        if call.is_overdue:
            self._fail(Failure("Timeout", ""))
            return
        header: dict[str, Any] = {"t": "ok", "status": result.status, "type": result.type, "length": length}
        if result.headers:
            header["headers"] = result.headers
        if outputs:
            header["out"] = [output.listed() for output, _ in outputs]
        self._reply(call, header, [result.body, *[body for _, body in outputs]])

    def _fail(self, failure: Failure) -> None:
        call = self._call
        assert call is not None
        call.outputs.close()
        kind = "error"
        if call.is_overdue:
            kind, failure = "timeout", Failure("Timeout", f"the command had no answer after {call.limit_s:.3g} s")
        header = {"t": "fail", "kind": kind, **failure._asdict()}
        self._reply(call, header, [])

    def _reply(self, call: Call, header: "dict[str, Any]", chunks: "list[bytes]") -> None:
        """End the call. An instance whose deadline has passed, or that has run all its calls, ends with it."""
        peak_rss_kb = 0 if self._child is None else self._child.peak_rss_kb()
        figures = call.figures(self._cpu_ns(), peak_rss_kb, logs.has_unread(self._log))
        self._call = None
        wire.write(self._data, wire.pack(wire.encode({**header, **figures}), chunks))
        if call.is_overdue:
            self._end = 0
        elif self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._leave()
        if self._child is not None:
            self._child.reap_others()

    def _cpu_ns(self) -> int:
        return time.process_time_ns() + (0 if self._child is None else self._child.cpu_ns())

    def _refused(self, who: str) -> None:
        if not self._has_refused:
            self._has_refused = True
            self._told(f"refused a connection to the Runtime API from {who}: no process of this instance has it open")

    def _told(self, message: str) -> None:
        sys.stderr.write(f"[forklight] {message}\n")
        sys.stderr.flush()


class Prepared(Program):
    """What the instances of a command start with."""

    is_async = False

    def __init__(
        self, message: "dict[str, Any]", memory: int, files: "tuple[int, int]", data: "tuple[int, int]"
    ) -> None:
        super().__init__(message, memory, files, data)
        logs.set_up(message["log_level"])
        wire.shared.fd = memory
        function, program = message["function"], message["program"]
        self._command = Command(
            argv=tuple(program["command"]),
            form=program["events"],
            function=function["name"],
            version=function["version"],
            handler=function["handler"],
            max_result=function["max_result"],
            memory_mib=message["limits"]["memory_bytes"] >> 20,
            code=message["code"],
            env=message["env"],
        )

    def execute(self, request: "dict[str, Any]", data: int, log: int, lifeline: int) -> NoReturn:
        """Serve the command, then end as it does."""
        status = 1
        try:
            command = self._command._replace(env={**self._command.env, **request["env"]})
            status = serve(command, data, log, self.memory, request.get("calls"))
        finally:
            logs.flush()
            os._exit(status)


def serve(command: Command, data: int, log: int, memory: int, calls: "int | None") -> int:
    """The life of an instance; returns its exit status, or ends as the command did."""
    signal.signal(signal.SIGTERM, _ignore)  # at a deadline; the `cancel` frame says for which call
    proxy = Proxy(command, data, log, memory, calls)
    signal.signal(wire.STACK_SIGNAL, proxy.describe)  # in place of faulthandler, which would show this process
    code = proxy.run()
    if code:
        die_like(code)
    return 0


def _ignore(_signal: int, _frame: object) -> None:
    """Unlike SIG_IGN, it does not stay in force in what is started."""


def _ending(code: int) -> str:
    """`exit code 3` or `SIGSEGV`."""
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in signal.Signals._value2member_map_ else f"signal {-code}"
