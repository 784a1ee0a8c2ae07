"""The I/O around a pool: starts, invokes and ends instances as the pool decides, and delivers outcomes."""

import asyncio
import logging
import time
from collections.abc import Callable

import anyio.abc
from msgspec.structs import replace

from bus import Failed
from bus.event import held_bytes
from bus.outcome import StartKind, Timings
from dispatcher import outcomes
from dispatcher.actions import Action, Assign, Fail, Leave, Refuse, Rest, Start, Statistics
from dispatcher.call import Call
from dispatcher.capacity import Capacity
from dispatcher.keys import KeyOf, key_of
from dispatcher.loads import Loads
from dispatcher.machine import Machine
from dispatcher.pool import Pool
from dispatcher.reasons import Reasons
from dispatcher.retirement import Retirement
from dispatcher.settings import Function
from dispatcher.start_costs import StartCosts
from dispatcher.tenant import Booked, FunctionTenant
from sandbox.backoff import Backoff
from sandbox.causes import Cause
from sandbox.errors import InstanceGone, LoadFailed, StartFailed
from sandbox.instance import Instance
from sandbox.places import template_key
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


class Runner:
    """One served function. Also what its triggers may ask: capacity, and instances for expected events."""

    def __init__(self, function: Function, tree: Tree, tasks: anyio.abc.TaskGroup, machine: Machine) -> None:
        self.function = function
        self._is_logged = log.isEnabledFor(logging.DEBUG)
        """Looked up once, because a pool decides too often to ask the logger each time."""
        self._tree = tree
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._pool: Pool[Call, Instance] = Pool(function.pool, time.monotonic_ns())
        self._key_of: KeyOf | None = key_of(function.pool.reuse)  # None: every event may have every instance
        self._backoff = Backoff()
        self.reasons = Reasons()
        self._cause: Cause | None = None  # why the latest start had to make a template or a zygote
        self._failed_start: Exception | None = None
        """The latest one. Events compare it by identity, to see whether a start failed while they waited."""
        self._has_rested = False
        self.retirement = Retirement(self._retire, self._freed)
        self.start_costs = StartCosts()
        """What its starts have taken, those of earlier versions too."""
        self._loads = Loads(tree, self.start_costs)
        self._born_ns: dict[Instance, int] = {}
        self._meter = tree.meters.of(function.spec.name)
        self._error = LoadFailed("InitFailed", "it was never loaded")
        self._capacity = Capacity(self.capacity)
        self._on_capacity = self._capacity.callbacks
        """Empty if no queue has this function: then nothing is looked at on the warm path."""
        self._max_wait_ns = int(function.pool.max_wait_s * 1e9)
        self._max_invocations = function.pool.max_invocations
        self.is_draining = False
        """Whether the server accepts no more events: then capacity is 0, and announcements are ignored."""
        self._stopped = self._ending = False
        self._watch = tree.sweep.watch(self)
        self._tenant = FunctionTenant(function, self._pool, self._loads, machine, self._carry_out)
        if function.pool.rest == "template":
            tree.keep(function.spec)
        self._carry_out(self._pool.tick(time.monotonic_ns()))

    def __repr__(self) -> str:
        state = "ending" if self._ending else "draining" if self.is_draining else "serving"
        spec = self.function.spec
        return f"<Runner of {spec.name} {spec.version}: {state}, {self._pool}>"

    @property
    def is_gone(self) -> bool:
        """Whether every process of it has ended after `wind_up`."""
        return self._ending and not self._tree.has(self.function.spec)

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
            self._watch.expect(call.accepted_ns + self._max_wait_ns)

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

    def _carry_out(self, actions: list[Action[Call, Instance]], start: StartKind = _WARM) -> None:
        """Carry out the pool's decisions and arm its next tick. `start`: what an assigned event waited for."""
        self._perform(actions, start)
        self._capacity.look()
        self._loads.set_leads(self.function.spec, self._pool.announced)
        at_ns = self._pool.next_tick_ns(time.monotonic_ns())
        if at_ns is not None:
            self._watch.expect(at_ns)

    def _perform(self, actions: list[Action[Call, Instance]], start: StartKind = _WARM) -> None:
        for action in actions:
            if self._is_logged and not isinstance(action, Assign):
                log.debug("%s: the pool decides: %r", self.function.spec.name, action)
            match action:
                case Assign(call, instance):
                    self._assign(call, instance, start)
                case Start(ahead, spare):
                    if not self._stopped and (booking := self._tenant.book(spare=spare)) is not None:
                        self._tasks.start_soon(self._start, ahead, booking)
                case Leave(instance):  # later, because the answer of its last call must be delivered first
                    self._loop.call_soon(instance.leave)
                case Refuse(call, code):
                    problem = self._tenant.shortage() or self._tree.problem_of(self.function.spec)
                    waiting = self._pool.statistics().waiting
                    self._refuse(call, outcomes.throttled(code, self.function, waiting, problem))
                case Fail(call):
                    self._refuse(call, outcomes.not_loaded(self._error))
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

    def _refuse(self, call: Call, outcome: Failed) -> None:
        self._note(call)
        now_ns = time.monotonic_ns()
        self._deliver(call, replace(outcome, timings=Timings(call.accepted_ns, now_ns, now_ns, now_ns)))

    def _deliver(self, call: Call, outcome: Failed) -> None:
        """End a call without a run, in a later turn of the loop: its caller may bring the next event."""
        self._loop.call_soon(call.end, outcome)

    def renew(self, function: Function, fresh: list[Instance]) -> None:
        """Run new and waiting events on this version, first on `fresh`; old instances end after their calls."""
        old, self.function = self.function.spec, function
        self._max_wait_ns = int(function.pool.max_wait_s * 1e9)
        self._max_invocations = function.pool.max_invocations
        self._backoff = Backoff()
        self._ending = False
        self._watch.end()
        self._watch = self._tree.sweep.watch(self)
        self._tenant.open(function)
        if function.pool.rest == "template":
            self._tree.keep(function.spec)
        now_ns = time.monotonic_ns()
        living = [instance for instance in fresh if not instance.is_dead]
        for instance in living:
            self._tenant.place(instance)
            self._adopt(instance, now_ns)
        self._key_of = key_of(function.pool.reuse)
        self._carry_out(self._pool.renew(function.pool, living, now_ns, self._key_of_call))
        if template_key(old) != template_key(function.spec):
            self._tree.drop(old)

    def _key_of_call(self, call: Call) -> str | None:
        return None if self._key_of is None else self._key_of(call.event)

    def wind_up(self) -> None:
        """Run the accepted events, then end the instances and the template."""
        self._ending = True
        self._carry_out(self._pool.wind_up(time.monotonic_ns()))

    def _rest(self) -> None:
        self._loads.note(self.function.spec)
        self._has_rested = self._tree.has(self.function.spec)
        self._tree.drop(self.function.spec)
        if self._ending:
            self._watch.end()
            self._tenant.close()

    async def _start(self, ahead: bool, booking: Booked) -> None:
        function, begun_ns = self.function, time.monotonic_ns()
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

    def _retire(self, instance: Instance) -> None:
        self._carry_out(self._pool.retire(instance, time.monotonic_ns()))

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

    def _note_used(self) -> None:
        """Note how many have run an event: after each start and at each tick, as the warm path has no time for it."""
        now = self._pool.statistics()
        self._meter.note_used(now.idle + now.busy)

    def capacity(self) -> int:
        """Return how many more events could run now; 0 while the function cannot load or the server drains."""
        return 0 if self.is_draining else self._pool.room(time.monotonic_ns())

    def on_capacity(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the event loop each time capacity rises from 0."""
        self._capacity.watch(callback)

    def expect(self, at_ns: int) -> None:
        """Have an instance ready for an event at `at_ns`."""
        if not self.is_draining:
            self._pool.announced.add(at_ns)
            self._carry_out([])

    @property
    def is_expecting(self) -> bool:
        """Whether an announced event is so near that an instance must be ready for it."""
        return self._pool.announced.wants_start(time.monotonic_ns())

    def stop(self) -> None:
        """Start no more instances, not even to replace dead ones."""
        self._stopped = True

    def statistics(self) -> Statistics:
        return self._pool.statistics()

    def instances(self) -> list[Instance]:
        """Every live instance."""
        return self._pool.members()

    def calls(self) -> dict[str, int]:
        """How many calls run in each busy instance, by its id."""
        return {instance.id: count for instance, count in self._pool.calls().items()}
