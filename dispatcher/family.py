"""The versions of one function that serve side by side: which gets an event, and what they share. The I/O.

`split.py` decides which version an event is for, and `joint.py` who may have how many instances. Two promises of a
function hold over all its versions together: it never has more than `max_instances`, and the events of a key run one
after the other. So an event waits here while another version still has events of its key. Neither an idle instance nor
the end of a call is reported to others, because that would cost the warm path, so a tick looks for them while somebody
waits.
"""

import time
from collections.abc import Callable

from bus import Event
from dispatcher.call import Call
from dispatcher.joint import Joint
from dispatcher.runner import Runner
from dispatcher.split import Split
from dispatcher.standing import Standing
from sandbox.instance import Instance
from sandbox.places import template_key
from sandbox.spec import FunctionSpec
from sandbox.sweep import Sweep

POLL_NS = 20_000_000
"""How often room, or the turn of a key, is looked for while an event waits for it."""
END_POLL_NS = 250_000_000
"""How often an ended variant is looked for that runs the last of its events."""
SOON_NS = 2_000_000
"""Room is looked for no more often."""


class Family:
    """A function that serves, its variants, and those that are ending. `on_over` is called when only it is left."""

    def __init__(self, base: Runner, sweep: Sweep, on_over: Callable[[], None]) -> None:
        self.base = base
        self._split: Split | None = None
        self._on_over = on_over
        self._variants: dict[str, Runner] = {}
        self._ending: list[Runner] = []
        self._held: dict[str, list[tuple[Call, Runner]]] = {}
        """By key: the events that wait until another version has none of it any more, in order."""
        self._joint: Joint[Instance] = Joint(base.function.pool.max_instances)
        self._looked_ns = 0
        self._is_looking = False
        self._watch = sweep.watch(self)
        self._join(base)

    def add(self, variant: Runner) -> None:
        """Serve a variant, too."""
        if variant in self._ending:
            self._ending.remove(variant)
        self._variants[variant.name] = variant
        self._join(variant)

    def remove(self, variant: Runner) -> None:
        """The variant gets no further events. What it has accepted still runs."""
        del self._variants[variant.name]
        self._ending.append(variant)
        if self._split is not None and self._split.variant == variant.name:
            self.divide(None)
        self.look_soon()

    def divide(self, split: Split | None) -> None:
        """From now on this split divides the events."""
        self._split = split
        self._note_choice()

    def _note_choice(self) -> None:
        """Without a split and without keys, an event of the function need not come here."""
        self.base.has_choice = self._split is not None or self.base.has_keys

    def rebase(self, base: Runner) -> None:
        """The function was removed and is served again, by another runner."""
        if base is not self.base:
            self._ending.append(self.base)
            self.base = base
            self._join(base)

    def _join(self, runner: Runner) -> None:
        runner.join(self, self._joint, self.base.watched)
        self._note_choice()
        self._joint.set_pools(one.pool for one in self._members())
        self.look_soon()

    def variants(self) -> list[Runner]:
        """Those that are served, whether they get events or not."""
        return list(self._variants.values())

    def _members(self) -> list[Runner]:
        return [self.base, *self._variants.values(), *self._ending]

    def shares_template(self, spec: FunctionSpec, *, besides: Standing) -> bool:
        """Whether another version has the same template: it differs in nothing that a template knows."""
        others = (one for one in self._members() if one is not besides and not one.is_gone)
        return any(template_key(one.function.spec) == template_key(spec) for one in others)

    def used(self) -> int:
        """How many instances of all versions together live and have run an event."""
        now = [one.statistics() for one in self._members()]
        return sum(one.idle + one.busy for one in now)

    def choose(self, event: Event) -> Runner:
        """Return the version that is to run an event which asks for none.

        While a variant cannot load, the function serves its events, too: a canary must not stop a queue's consumer.
        """
        split = self._split
        if split is None or not split.takes(self.base.key(event) or event.id):
            return self.base
        variant = self._variants[split.variant]
        return variant if variant.pool.can_serve(time.monotonic_ns()) else self.base

    def share(self, runner: Runner) -> float:
        """Return the share of the events that this version gets, from 0 to 1."""
        split = self._split
        if runner is self.base:
            return 1.0 if split is None else 1.0 - split.share
        return split.share if split is not None and split.variant == runner.name else 0.0

    def taking(self) -> list[Runner]:
        """The versions that get events which ask for none."""
        return [one for one in (self.base, *self._variants.values()) if self.share(one) > 0]

    def capacity(self, now_ns: int) -> int:
        """How many more events could run now, on the function rather than on a canary."""
        able = (one for one in self.taking() if one.pool.can_serve(now_ns))
        return next(able, self.base).room(now_ns)

    def begin(self, call: Call, runner: Runner) -> None:
        """Run the event on this version, after those of its key that another version has."""
        key = self.base.key(call.event)
        if key is None or not (key in self._held or self._is_elsewhere(key, runner)):
            runner.begin(call)
        elif sum(map(len, self._held.values())) >= runner.function.pool.max_waiting:
            runner.refuse(call, "QueueFull")
        else:
            call.wait_in(self)
            self._held.setdefault(key, []).append((call, runner))
            self.look_soon()

    def withdraw(self, call: Call) -> None:
        """The caller has left."""
        for key, held in self._held.items():
            kept = [pair for pair in held if pair[0] is not call]
            if len(kept) < len(held):
                self._held[key] = kept
                self.look_soon()
                return

    def _is_elsewhere(self, key: str, runner: Runner) -> bool:
        """Whether another version still has events of the key."""
        return any(one is not runner and one.pool.has_event_of(key) for one in self._members())

    def look_soon(self) -> None:
        """Somebody may wait, or something may have become free."""
        if not self._is_looking:
            self._watch.expect(max(time.monotonic_ns(), self._looked_ns + SOON_NS))

    def tick(self, now_ns: int) -> int | None:
        """Give room to those that wait. Called by the sweep. Return when to look again."""
        self._looked_ns, self._is_looking = now_ns, True
        try:
            return self._look(now_ns)
        finally:
            self._is_looking = False

    def _look(self, now_ns: int) -> int | None:
        self._joint.most = self.base.function.pool.max_instances
        self._note_choice()  # a renewal may have given it keys
        self._release(now_ns)
        by_pool = {id(one.pool): one for one in self._members()}
        for pool, instance in self._joint.given_up(now_ns):
            by_pool[id(pool)].retire(instance)
        lacking = False
        for runner in self._members():
            if runner.pool.lacking(now_ns) > 0:
                runner.look(now_ns)
                lacking = lacking or runner.pool.lacking(now_ns) > 0
        self._ending = [one for one in self._ending if not one.is_gone]
        self._joint.set_pools(one.pool for one in self._members())
        if lacking or self._held:
            return now_ns + POLL_NS
        if self._ending:
            return now_ns + END_POLL_NS
        if not self._variants:
            self._watch.end()
            self.base.leave_family()
            self._on_over()
        return None

    def _release(self, now_ns: int) -> None:
        """Run the held events whose turn has come, and refuse those that have waited too long."""
        for key, held in list(self._held.items()):
            while held and (held[0][0].is_over or self._is_due(key, held, now_ns)):
                call, runner = held.pop(0)
                if not call.is_over:
                    self._let_go(call, runner, now_ns)
            if not held:
                del self._held[key]

    def _is_due(self, key: str, held: list[tuple[Call, Runner]], now_ns: int) -> bool:
        call, runner = held[0]
        return not self._is_elsewhere(key, self._served(runner)) or now_ns >= call.accepted_ns + runner.max_wait_ns

    def _let_go(self, call: Call, runner: Runner, now_ns: int) -> None:
        served = self._served(runner)
        call.wait_in(served)
        served.note_held(call)
        if now_ns >= call.accepted_ns + runner.max_wait_ns:
            served.refuse(call, "WaitExpired")
        else:
            served.begin(call)

    def _served(self, runner: Runner) -> Runner:
        """The version, or if it has been removed meanwhile, the one that serves."""
        return runner if runner is self.base or runner.name in self._variants else self.base
