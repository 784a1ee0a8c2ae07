"""The I/O around a pool: starts, invokes and ends instances as the pool decides, and delivers outcomes."""

import asyncio
import logging
import time
from typing import Literal

import anyio.abc
from msgspec.structs import replace

from bus import Failed
from bus.event import held_bytes
from bus.outcome import StartKind, Timings
from dispatcher import outcomes
from dispatcher.actions import Action, Assign, Fail, Leave, Refuse, Rest, Start, Statistics
from dispatcher.call import Call
from dispatcher.loads import Loads
from dispatcher.machine import Machine
from dispatcher.reasons import Reasons
from dispatcher.retirement import Retirement
from dispatcher.settings import Function
from dispatcher.standing import Standing
from dispatcher.start_costs import StartCosts
from dispatcher.tenant import Booked, FunctionTenant
from sandbox.backoff import Backoff
from sandbox.causes import Cause
from sandbox.errors import InstanceGone, LoadFailed, StartFailed
from sandbox.instance import Instance
from sandbox.spec import FunctionSpec
from sandbox.sweep import WATCH_S
from sandbox.tree import Tree

log = logging.getLogger(__name__)

RETRY_START_NS = 250_000_000
"""Delay before another start when the machine had no room for a process and nothing says how long to wait."""
WORTH_NOTING_NS = 1_000_000
"""Shorter waits are not recorded for `why`: under full load half of all events have one."""
WATCH_NS = int(WATCH_S * 1e9)
_WARM: StartKind = "warm"
_MADE: tuple[StartKind, ...] = ("load", "boot")  # start kinds that made more than the instance


class Runner(Standing):
    """One served function, or a variant."""

    def __init__(
        self, function: Function, tree: Tree, tasks: anyio.abc.TaskGroup, machine: Machine, *, name: str = ""
    ) -> None:
        """`name`: by which the dispatcher serves it."""
        super().__init__(function, tree, name or function.spec.name)
        self._is_logged = log.isEnabledFor(logging.DEBUG)
        """Looked up once, because a pool decides too often to ask the logger each time."""
        self._tree = tree
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff()
        self.reasons = Reasons()
        self._cause: Cause | None = None  # why the latest start had to make a template or a zygote
        self._failed_start: Exception | None = None
        """The latest one. Events compare it by identity, to see whether a start failed while they waited."""
        self._has_rested = False
        self.retirement = Retirement(self.retire, self._freed)
        self.start_costs = StartCosts()
        """What its starts have taken, those of earlier versions too."""
        self._loads = Loads(tree, self.start_costs)
        self._born_ns: dict[Instance, int] = {}
        self._error = LoadFailed("InitFailed", "it was never loaded")
        self.max_wait_ns = int(function.pool.max_wait_s * 1e9)
        self._max_invocations = function.pool.max_invocations
        self._stopped = self._ending = self._is_wound_up = False
        self.is_gone = False
        """Whether it has no process any more after `wind_up`."""
        self._watch = tree.sweep.watch(self)
        self._tenant = FunctionTenant(function, self._pool, self._loads, machine, self._carry_out)
        if function.pool.rest == "template":
            tree.keep(function.spec)
        self._carry_out(self._pool.tick(time.monotonic_ns()))

    def __repr__(self) -> str:
        state = "ending" if self._ending else "draining" if self.is_draining else "serving"
        spec = self.function.spec
        name = spec.name if self._leads else self.name
        return f"<Runner of {name} {spec.version}: {state}, {self._pool}>"

    def begin(self, call: Call) -> None:
        """Run the event in a free slot, or let it wait for one. The outcome comes in a later turn of the loop."""
        instance = self._take()
        if instance is not None:
            self._run(call, instance, _WARM)
        elif self._key_of is None:
            self._wait(call, None)
        else:
            self._find(call, self._key_of(call.event))

    def _run(self, call: Call, instance: Instance, start: StartKind) -> None:
        event = call.event
        try:
            instance.begin(event, call.end, start=start, attempt=event.attempt, accepted_ns=call.accepted_ns)
        except InstanceGone:  # its death will be reported; the event has not run, so it may try once more
            self._close(instance)
            if call.has_missed:
                self._deliver(call, outcomes.gone_twice(self.function.spec.name))
            else:
                call.has_missed = True
                self._loop.call_soon(self._try_again, call)
        except (TypeError, ValueError) as error:
            self._loop.call_soon(self._hand_on, instance, start)
            self._deliver(call, outcomes.unwritable(str(error)))
        else:
            if self._max_invocations is not None and instance.invocations >= self._max_invocations:
                self.retirement.counts["invocations"] += 1
                self._close(instance)

    def _close(self, instance: Instance) -> None:
        """Give a busy instance no more events; its free slots are lost."""
        self._pool.close(instance)
        self._capacity.look()

    def _try_again(self, call: Call) -> None:
        if not call.is_over:
            self.begin(call)

    def _take(self) -> Instance | None:
        """Take a free slot, but none of an instance that leaves by itself, whose death will be reported."""
        while (instance := self._pool.take()) is not None and not instance.is_serving:
            self._pool.close(instance)
        # On the warm path only the last free slot matters, and only to the consumers of queues.
        if self._on_capacity and self._capacity.has_room and not self._pool.has_free_slot:
            self._capacity.look()
        return instance

    def _find(self, call: Call, key: str | None) -> None:
        """Run the event in the instance of its key, or let it wait for one."""
        instance = None if key is None else self._pool.take_of(key)
        if instance is None:
            self._wait(call, key)
        elif instance.is_serving:
            self._run(call, instance, _WARM)
        else:  # its death will be reported, and then the event gets another one
            self._pool.close(instance)
            self._wait(call, key)

    def _wait(self, call: Call, key: str | None) -> None:
        """Give the event a spare, or put it in line."""
        event, now_ns = call.event, time.monotonic_ns()
        for spare in self._pool.spares():
            if not spare.is_serving:
                self._pool.close(spare)
        call.found, call.failed_start = self._pool.statistics(), self._failed_start
        call.behind_key = self._pool.has_instance_of(key)
        actions = self._pool.wait(
            call, call.accepted_ns, now_ns, size_bytes=held_bytes(event), key=key, again=call.has_missed
        )
        call.begun = sum(isinstance(action, Start) and not action.ahead for action in actions)
        if actions and isinstance(actions[0], Assign) and actions[0].ticket is call:
            call.found = None  # it has a spare, and waits for nothing
        elif self._is_logged:
            log.debug("%s: event %s waits: no free slot among %s", self.function.spec.name, event.id, call.found)
        if actions or not self._pool.is_full():
            self._carry_out(actions)
        else:  # in a burst, one more event in line makes nothing due except the end of its own wait
            self._watch.expect(call.accepted_ns + self.max_wait_ns)
            if self.family is not None:
                self.family.look_soon()

    def withdraw(self, call: Call) -> None:
        """Take an event out of the line, because its caller has left."""
        self._pool.withdraw(call)
        self._capacity.look()

    def _note(self, call: Call) -> None:
        """Keep for `why` what a call that waited had found."""
        if call.found is None:
            return
        event = call.event
        self.reasons.note(event.id, event.attempt, call.found, self.function.pool, call.begun)
        if self._failed_start is not call.failed_start:
            self.reasons.add_cause(event.id, event.attempt, Cause("start_failed", str(self._failed_start)))
        elif shortage := self._tenant.shortage_since(call.accepted_ns):
            self.reasons.add_cause(event.id, event.attempt, Cause("no_room", shortage))
        elif call.behind_key:
            self.reasons.add_cause(event.id, event.attempt, Cause("key", str(self.function.pool.reuse)))
        elif self.family is not None and self._lacked_turn(call.found, call.begun):
            self.reasons.add_cause(event.id, event.attempt, Cause("other_version"))

    def _lacked_turn(self, found: Statistics, begun: int) -> bool:
        """Whether it could have started an instance, if other versions had not had them."""
        own = found.idle + found.spare + found.busy + found.starting + found.leaving
        return not begun and own < self.function.pool.max_instances

    def note_held(self, call: Call) -> None:
        """Keep for `why` that the event had to wait for another version."""
        event = call.event
        self.reasons.note(event.id, event.attempt, self._pool.statistics(), self.function.pool, 0)
        self.reasons.add_cause(event.id, event.attempt, Cause("other_key"))

    def _carry_out(self, actions: list[Action[Call, Instance]], start: StartKind = _WARM) -> None:
        """Carry out the pool's decisions and arm its next tick. `start`: what an assigned event waited for."""
        self._perform(actions, start)
        self._capacity.look()
        self._loads.set_leads(self.function.spec, self._pool.announced)
        at_ns = self._pool.next_tick_ns(time.monotonic_ns())
        if at_ns is not None:
            self._watch.expect(at_ns)
        if self.family is not None:
            self.family.look_soon()

    def _perform(self, actions: list[Action[Call, Instance]], start: StartKind = _WARM) -> None:
        for action in actions:
            if self._is_logged and not isinstance(action, Assign):
                log.debug("%s: the pool decides: %r", self.function.spec.name, action)
            match action:
                case Assign(call, instance):
                    self._assign(call, instance, start)
                case Start(ahead, spare):
                    if not self._stopped and (booking := self._tenant.book(spare=spare)) is not None:
                        self._tasks.start_soon(self._start, self.function, ahead, booking)
                case Leave(instance):  # later, because the answer of its last call must be delivered first
                    self._loop.call_soon(instance.leave)
                case Refuse(call, code):
                    self.refuse(call, code)
                case Fail(call):
                    failed = outcomes.not_loaded(self._error)
                    self._refuse(call, failed if self._leads else replace(failed, retry_after_s=0.0))
                case Rest():
                    self._rest()

    def _assign(self, call: Call, instance: Instance, start: StartKind) -> None:
        event = call.event
        if self._is_logged:
            log.debug("%s: event %s gets %r (%s)", self.function.spec.name, event.id, instance, start)
        if call.begun or time.monotonic_ns() - call.accepted_ns > WORTH_NOTING_NS:
            self._note(call)
        if start in _MADE and self._cause is not None:
            self.reasons.add_cause(event.id, event.attempt, self._cause)
        self._run(call, instance, start)

    def _hand_on(self, instance: Instance, start: StartKind) -> None:
        """Give an assigned but unused slot to the next event in line, or free it."""
        if instance.is_serving:
            self._carry_out(self._pool.freed(instance, time.monotonic_ns()), start)

    def refuse(self, call: Call, code: Literal["QueueFull", "WaitExpired"]) -> None:
        """The event is throttled."""
        problem = self._tenant.shortage() or self._tree.problem_of(self.function.spec)
        waiting = self._pool.statistics().waiting
        self._refuse(call, outcomes.throttled(code, self.function, waiting, problem))

    def _refuse(self, call: Call, outcome: Failed) -> None:
        self._note(call)
        now_ns = time.monotonic_ns()
        self._deliver(call, replace(outcome, timings=Timings(call.accepted_ns, now_ns, now_ns, now_ns)))

    def _deliver(self, call: Call, outcome: Failed) -> None:
        """End a call without a run, in a later turn of the loop: its caller may bring the next event."""
        self._loop.call_soon(call.end, replace(outcome, release=self.release))

    def _drop(self, spec: FunctionSpec) -> None:
        """End the template, unless another version of the function has the same one."""
        if self.family is None or not self.family.shares_template(spec, besides=self):
            self._tree.drop(spec)

    def _rest(self) -> None:
        self._loads.note(self.function.spec)
        self._has_rested = self._tree.has(self.function.spec)
        self._drop(self.function.spec)
        if self._is_wound_up:
            self.is_gone = True
            self._watch.end()
            self._tenant.close()

    async def _start(self, function: Function, ahead: bool, booking: Booked) -> None:
        """Start an instance of `function`, which was served when the pool decided to."""
        begun_ns = time.monotonic_ns()
        if function is not self.function:  # renewed in the same turn of the event loop
            self._tenant.cancel(booking)
            return
        try:
            start = self._tree.start(function.spec, ahead=ahead, calls=function.pool.max_invocations)
            instance, kind = await self._tenant.started(booking, start)
        except LoadFailed as error:
            if function is self.function:
                self._error = error
                self._start_failed(error, error.retry_at_ns or 0, hopeless=True)
        except StartFailed as error:
            if function is self.function:
                self._start_failed(error, 0, hopeless=False)
        else:
            if function is not self.function:  # renewed meanwhile: the pool does not expect this instance
                instance.leave()
                return
            if kind in _MADE:
                self._cause = self._cause_of(kind)
            now_ns = time.monotonic_ns()
            self.start_costs.note(kind, now_ns - begun_ns)
            self._adopt(instance, now_ns)
            self._carry_out(self._pool.started(instance, now_ns), kind)
            self._note_used()

    def _cause_of(self, kind: StartKind) -> Cause | None:
        rested, self._has_rested = self._has_rested, False
        pool = self.function.pool
        if rested:
            return Cause("rested", f"{pool.template_keep_alive_s:g}")
        return self._tree.cause_of(self.function.spec, kind)

    def _adopt(self, instance: Instance, now_ns: int) -> None:
        instance.on_free = self._freed
        instance.on_worn = self.retirement.worn
        instance.on_dead = self._died
        instance.log.release = self.release
        self._born_ns[instance] = now_ns

    def _start_failed(self, error: Exception, retry_ns: int, *, hopeless: bool) -> None:
        self._failed_start = error
        now_ns = time.monotonic_ns()
        retry_ns = max(retry_ns, now_ns + RETRY_START_NS)
        self._carry_out(self._pool.start_failed(now_ns, retry_ns, hopeless=hopeless))

    def _freed(self, instance: Instance) -> None:
        """A call ended. The slot of an instance that is killed or leaves by itself is not free: its death is reported.

        What this makes due, such as the end of `keep_alive`, is looked for within `WATCH_S`.
        """
        if not (instance.is_serving or self._pool.is_leaving(instance)):
            return
        now_ns = time.monotonic_ns()
        actions = self._pool.freed(instance, now_ns)
        if self._watch.due_ns > now_ns + WATCH_NS:
            self._watch.expect(now_ns + WATCH_NS)
        if actions:
            self._perform(actions)
        elif self._on_capacity and not self._capacity.has_room:
            self._capacity.look()

    def retire(self, instance: Instance) -> None:
        """End an instance: at once if it is idle, else after its calls."""
        self._carry_out(self._pool.retire(instance, time.monotonic_ns()))

    def look(self, now_ns: int) -> None:
        """Other versions of the function may have left it room."""
        self._carry_out(self._pool.tick(now_ns))

    def _died(self, instance: Instance) -> None:
        now_ns = time.monotonic_ns()
        self._tenant.ended(instance)
        lived_s = (now_ns - self._born_ns.pop(instance)) / 1e9
        if not self._pool.is_leaving(instance):
            self._backoff = self._backoff.ended(now_ns, lived_s)
        self._carry_out(self._pool.died(instance, now_ns, self._backoff.retry_at_ns))

    def tick(self, now_ns: int) -> int | None:
        """Called by the tree's sweep when something may be due. Return when to call again."""
        self._loads.set_leads(self.function.spec, self._pool.announced)
        self._perform(self._pool.tick(now_ns))
        self._capacity.look()
        self._loads.set_leads(self.function.spec, self._pool.announced)
        self._note_used()
        return self._pool.next_tick_ns(now_ns)

    def stop(self) -> None:
        """Start no more instances, not even to replace dead ones."""
        self._stopped = True
