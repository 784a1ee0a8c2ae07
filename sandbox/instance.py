"""The server's half of an instance. `calls.py` decides; this module carries out.

A call is one frame out and one frame in, on a non-blocking socket without a transport: writing to a dead instance fails
with EPIPE at once, and a warm call creates no task, takes no lock and passes no queue. The instance is dead when its
pidfd is readable; it is buried when its parent has also reaped it and killed everything that it left behind.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from bus import Event, Outcome
from bus.outcome import StartKind, deliver
from sandbox import outcomes, processes, wire
from sandbox.actions import Action, Cancel, End, Kill, Learn, Leave, Ready
from sandbox.birth import Birth
from sandbox.calls import Calls
from sandbox.channels import Body
from sandbox.checkup import IDLE_WATCH_NS, WATCH_NS, Checkup, Found
from sandbox.commons import Commons
from sandbox.endings import Answered, Died, Verdict, memory_exceeded
from sandbox.errors import InstanceGone
from sandbox.frames import OkFrame
from sandbox.group import Group
from sandbox.guest._forklight.wire import SHARED_BYTES, SHARED_FROM_BYTES
from sandbox.logs import LogPipe
from sandbox.spec import FunctionSpec
from sandbox.usage import Held
from sandbox.whereabouts import Whereabouts

READ_BYTES = 64 * 1024
MAX_READ_BYTES = 256 * 1024
"""of a body that is known to be so long"""
SOCKET_BYTES = 16 * 1024 * 1024
"""More than any socket buffer can hold."""
BURIAL_LIMIT_NS = 5_000_000_000
"""How long a template may take to reap a dead instance and sweep after it; then the template is killed."""

Done = Callable[[Outcome], None]
"""Gets the one outcome of a call, in the event loop. It must not block or raise."""


class Parent(Protocol):
    """The template that forked an instance."""

    group: Group

    def bury(self, instance: "Instance") -> None:
        """The process is dead: reap it, kill everything it left behind, then call its `buried`."""

    def bury_overdue(self, instance: "Instance") -> None:
        """The burial takes too long."""

    def forget(self, instance: "Instance", folder: Path) -> None:
        """The instance is buried, and its last outcome delivered. Nobody needs its folder any more."""


class Instance:
    """One live process that runs one function.

    `on_free` is called whenever a slot becomes free; `on_worn` when its memory is over `retire_memory`, which
    may be only for a call that runs; `on_dead` once, after the last outcome.
    """

    def __init__(self, spec: FunctionSpec, body: Body, commons: Commons, parent: Parent) -> None:
        self.spec = spec
        self.id = body.id
        self.pid, self.pidfd = body.pid, body.pidfd
        self.invocations = 0
        self.on_free: Callable[[Instance], None] = _nobody
        self.on_worn: Callable[[Instance], None] = _nobody
        self.on_dead: Callable[[Instance], None] = _nobody
        self._body = body
        self._commons, self._parent = commons, parent
        self._strains = parent.group.strains
        self._version = spec.version
        self._timeout_ns = int(spec.timeout_s * 1e9)
        self._watch_ns = min(self._timeout_ns, WATCH_NS)
        slots = spec.concurrency if body.asynchronous else 1
        self._calls = Calls.of(spec, asynchronous=body.asynchronous, learning=body.learnt is not None)
        self._shares = slots == 1  # its memory has room for one body, and is free again once the call has ended
        self._frames = wire.Frames(spec.limits.max_result_bytes)
        self.log = LogPipe(
            body.channels.log, spec.name, body.id, spec.limits.log_bytes, commons.log_turns, has_marks=slots > 1
        )
        self._where = Whereabouts(body.pidfd, body.channels, self.log, spec.runtime.abilities)
        self._pending: dict[int, tuple[Done, outcomes.Run]] = {}
        """The open calls: who gets the outcome, and the facts that go into it."""
        self._unsent: deque[memoryview] = deque()
        self._dead_ns: int | None = None
        now_ns = time.monotonic_ns()
        self.held = Held(commons.meters.of(spec.name).instances, body.loaded_kb)
        self.held.begin(now_ns)
        self._peak_kb = 0
        """The most that the process has had, as it says itself."""
        self.checkup = Checkup(body, self.held, spec.limits, now_ns, run=commons.measure, react=self._react)
        self._socket = body.channels.socket
        self._loop = asyncio.get_running_loop()
        self._birth = Birth(spec, self.log)
        self._watch = commons.sweep.watch(self)
        self._expect = self._watch.expect
        self._loop.add_reader(self._socket, self._readable)
        self._loop.add_reader(body.pidfd, self._died)
        self._expect(now_ns + IDLE_WATCH_NS)

    def __repr__(self) -> str:
        state = "dead" if self.is_dead else self._calls.state
        return f"<Instance {self.id} {state} pid={self.pid} calls={len(self._calls.open_calls)}>"

    @property
    def free_slots(self) -> int:
        """The number of events that it can take now; 0 once it leaves or dies."""
        return 0 if self.is_dead else self._calls.free_slots

    @property
    def is_serving(self) -> bool:
        """Whether it is alive, ready, and was not asked to leave."""
        return self._dead_ns is None and self._calls.state == "serving"

    @property
    def is_dead(self) -> bool:
        """Whether the process has ended. It may not be buried yet."""
        return self._dead_ns is not None

    @property
    def state(self) -> str:
        """`idle`, `busy` or `dead`, for `ps`."""
        if self._calls.state in ("condemned", "dead"):
            return "dead"
        return "busy" if self._calls.open_calls else "idle"

    async def start(self) -> None:
        """Wait until it can take events. Raises LoadFailed if its `after_fork` hook failed, or Ended."""
        if self._calls.state == "starting":
            self._expect(time.monotonic_ns() + WATCH_NS)
        await self._birth.wait(self)

    def invoke(
        self, event: Event, *, start: StartKind = "warm", attempt: int = 1, accepted_ns: int | None = None
    ) -> "asyncio.Future[Outcome]":
        """Like `begin`; the future gets the outcome. If it is cancelled, the call runs on without it."""
        waiter: asyncio.Future[Outcome] = self._loop.create_future()
        done = partial(deliver, waiter)
        self.begin(event, done, start=start, attempt=attempt, accepted_ns=accepted_ns)
        return waiter

    def begin(
        self, event: Event, done: Done, *, start: StartKind = "warm", attempt: int = 1, accepted_ns: int | None = None
    ) -> None:
        """Write the event to the instance; `done` gets its one outcome. Requires a free slot.

        The timeout counts from here. Raises InstanceGone if the instance is dead or leaving, so that the event can be
        assigned again, and TypeError or ValueError if the event's header is not valid as JSON.
        """
        if not self.is_serving:
            raise InstanceGone(f"instance {self.id} is gone")
        i = self.invocations + 1
        now_ns = time.monotonic_ns()
        deadline_ns = now_ns + self._timeout_ns
        shared = len(event.body) >= SHARED_FROM_BYTES and self._share(event.body)
        frame = wire.invoke(i, deadline_ns, attempt, start, event, shared=shared)
        self._calls.begin(i, deadline_ns)
        self.invocations = i
        self.log.begin(i, event.id, event.traceparent)
        try:
            self._send(frame)
        except OSError as error:
            self._calls.abort(i)
            self.log.end(i, drain=False)
            raise InstanceGone(f"instance {self.id} is gone: {error.strerror}") from None
        is_spare = i == 1 and start == "warm"  # it was ready before its first event came
        before = self._strains.latest
        run = outcomes.Run(
            accepted_ns or now_ns, now_ns, start, self.id, self._version, attempt, is_spare, before, self.log.release
        )
        self._pending[i] = done, run
        self._expect(now_ns + self._watch_ns)

    def _share(self, body: bytes) -> bool:
        """Leave the body in the memory that both share, if it fits; its last one is not needed any more."""
        return self._shares and len(body) <= SHARED_BYTES and self._body.channels.share(body)

    def leave(self) -> None:
        """Take no more events, finish the open call, then run the `stop` hook and end within the grace."""
        if self.held.is_unread and self._peak_kb:  # a short life, and perhaps over already
            self.held.read(self.checkup.peak_kb(self._peak_kb), time.monotonic_ns())
        self._carry_out(self._calls.leave(time.monotonic_ns()))
        self._expect_tick()

    def kill(self, verdict: Verdict) -> None:
        """Kill it now; its calls end with `verdict` once it is dead."""
        self._carry_out(self._calls.kill(verdict))

    def buried(self, code: int | None) -> None:
        """The parent has reaped it and swept after it: all open calls end now. `code` None: the code is unknown."""
        if self._calls.state == "dead":
            return
        if not self.is_dead:  # the parent's report arrived before the pidfd event
            self._note_death()
        self._watch.end()
        killed = "" if self._calls.condemned_for else self._why_killed(code)
        self._birth.died(self._calls, Died(code, killed), self._where.last())
        self._carry_out(self._calls.died(Died(code, killed)))
        self._where.close()
        for fd in (self._socket, self.pidfd):
            self._loop.remove_reader(fd)
        self._loop.remove_writer(self._socket)
        self.log.close()
        self._body.channels.close()
        os.close(self.pidfd)
        self._parent.forget(self, self._body.folder)
        self.on_dead(self)

    def _why_killed(self, code: int | None) -> str:
        killed = self._parent.group.why_killed(code, self.held.own_kb)
        return killed or self._where.full_heap(code, self.spec.limits.memory_bytes)

    def tick(self, now_ns: int) -> int | None:
        """Check the deadlines, the memory, and a burial that is overdue. Called by the sweep."""
        if self._dead_ns is not None:
            if now_ns < self._dead_ns + BURIAL_LIMIT_NS:
                return self._dead_ns + BURIAL_LIMIT_NS
            self._parent.bury_overdue(self)
            return None
        self._strains.note(now_ns)
        self._carry_out(self._calls.tick(now_ns))
        is_idle = self._calls.state == "serving" and not self._calls.open_calls
        self._react(self.checkup.look(now_ns, self.invocations, is_idle=is_idle))
        look_ns, next_ns = self.checkup.next_ns(self.invocations, is_idle=is_idle), self._calls.next_tick_ns
        return look_ns if next_ns is None else min(next_ns, look_ns)

    def _react(self, found: "Found | str | None") -> None:
        if isinstance(found, str) and not self.is_dead:
            if self.is_serving and not self._calls.open_calls:  # no outcome of a call could say so
                self._commons.report(self.spec.name, f"{self.id} was killed: {found} while it ran no call")
            self.kill(memory_exceeded(found))
        elif found is Found.IDLE:
            with contextlib.suppress(OSError):  # it is dying; the pidfd reports its end
                self._send([wire.tidy()])
        elif found is Found.WORN and self.invocations and self.is_serving:
            self.on_worn(self)

    def is_worn(self) -> bool:
        """Whether its memory is over `retire_memory` now; then the log says so."""
        if why := self.checkup.wear(time.monotonic_ns(), self.invocations):
            self._commons.report(self.spec.name, f"{self.id} is replaced: {why}", "info")
        return why != ""

    def _expect_tick(self) -> None:
        if (at_ns := self._calls.next_tick_ns) is not None:
            self._expect(at_ns)

    def _readable(self, *, again: bool = True) -> bool:
        """Read, and `again` if a long body has begun: it has often arrived. Return whether there may be more."""
        frames, calls = self._frames, self._calls
        try:
            missing_bytes = frames.missing_bytes
            data = self._socket.recv(READ_BYTES if missing_bytes <= READ_BYTES else min(missing_bytes, MAX_READ_BYTES))
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)
            self._calls.end_of_file(time.monotonic_ns())
            self._expect_tick()
            return False
        try:
            for frame, body in frames.feed(data):
                if calls.succeeds(frame):
                    self._succeed(frame, body)
                else:
                    self._carry_out(calls.frame(frame, body, time.monotonic_ns()))
        except wire.Breach as breach:
            self._loop.remove_reader(self._socket)
            self._carry_out(self._calls.breach(str(breach)))
            return False
        return self._readable(again=False) if again and frames.missing_bytes else True

    def _died(self) -> None:
        """The pidfd is readable: the parent takes over."""
        self._note_death()
        self._expect(time.monotonic_ns() + BURIAL_LIMIT_NS)
        self._parent.bury(self)

    def _note_death(self) -> None:
        """Record the death. Replies that the process wrote before it still count."""
        self._loop.remove_reader(self.pidfd)
        self._commons.pids.discard(self.pid)
        self._dead_ns = time.monotonic_ns()
        self.held.end(self._dead_ns)
        self._drain_replies()

    def _drain_replies(self) -> None:
        """Read what a dead instance wrote. Bounded, because a child of it may hold the socket and keep writing."""
        for _ in range(SOCKET_BYTES // READ_BYTES):
            if not self._readable():
                return

    def _send(self, pieces: list[bytes]) -> None:
        """Write what the socket takes now, and the rest as it drains. Raises OSError if the instance is gone."""
        sent = 0
        if not self._unsent:
            try:
                if len(pieces) == 1:
                    sent = self._socket.send(pieces[0])
                    if sent == len(pieces[0]):
                        return
                else:
                    sent = self._socket.sendmsg(pieces)
            except BlockingIOError:
                sent = 0
        for piece in pieces:
            if sent < len(piece):
                self._unsent.append(memoryview(piece)[sent:])
            sent = max(0, sent - len(piece))
        if self._unsent:
            self._loop.add_writer(self._socket, self._send_rest)

    def _send_rest(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent[0])
                if sent < len(self._unsent[0]):
                    self._unsent[0] = self._unsent[0][sent:]
                    return
                self._unsent.popleft()
        except BlockingIOError:
            return
        except OSError:  # it is dying; the pidfd reports its end
            self._unsent.clear()
        self._loop.remove_writer(self._socket)

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:  # `HandOver` is for streams and calls from a handler, which no call asks for yet
                case End():
                    self._end(action)
                case Ready(unfit):
                    self._birth.done(unfit)
                case Learn(frame) if self._body.learnt is not None:
                    self._body.learnt(frame.modules)
                case Cancel():
                    self._cancel(action.calls)
                case Kill():
                    self._where.kill(self._calls.condemned_for)
                case Leave():
                    self._shut()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):  # it closed its own end first
            self._socket.shutdown(1)

    def _cancel(self, calls: tuple[int, ...]) -> None:
        """Interrupt the calls. The stack comes first, so that it shows the handler and not its interruption."""
        self._where.ask_overdue()
        with contextlib.suppress(OSError):  # it is dying; the pidfd reports its end
            self._send([b"".join(map(wire.cancel, calls))])
        if not self._body.asynchronous:
            processes.kill(self.pidfd, signal.SIGTERM)

    def _succeed(self, frame: OkFrame, body: bytes) -> None:
        """The warm case of `_end`."""
        done, run = self._pending.pop(frame.i)
        self.log.end(frame.i, drain=frame.log != 0)
        outcome = outcomes.succeeded(frame, body, run, time.monotonic_ns())
        self._peak_kb = frame.peak_rss_kb
        self.on_free(self)
        done(outcome)

    def _end(self, end: End) -> None:
        done, run = self._pending.pop(end.i)
        answer = end.ending
        self.log.end(end.i, drain=isinstance(answer, Verdict) or bool(answer.frame.log))
        stack = "" if isinstance(answer, Answered) else end.traceback or self._where.of(answer, end.i)
        outcome = outcomes.of(answer, stack, run, time.monotonic_ns())
        self._peak_kb = max(self._peak_kb, outcome.peak_rss_kb)  # a verdict knows none
        self.on_free(self)  # first, because `done` may bring the next event of the same client
        done(outcome)

    def last_stack(self) -> str:
        """The stack that the process wrote, for people, or the reason why there is none."""
        return self._where.last()

    def ask_for_stack(self) -> None:
        """Have the process write its stack."""
        if not self.is_dead:
            self._where.ask()


def _nobody(_instance: Instance) -> None:
    """The default of the callbacks, until a pool sets its own."""
