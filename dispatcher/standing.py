"""A served function, or a variant, as those see it who ask: triggers, other versions of the function, `ps`."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from bus import Event
from dispatcher.actions import Action, Statistics
from dispatcher.call import Call
from dispatcher.capacity import Capacity
from dispatcher.joint import Joint
from dispatcher.keys import KeyOf, key_of
from dispatcher.pool import Pool
from dispatcher.records import Record
from dispatcher.settings import Function, PoolSettings
from dispatcher.split import AT, number_of
from sandbox.instance import Instance
from sandbox.spec import FunctionSpec
from sandbox.tree import Tree


class Others(Protocol):
    """The versions of the function together, while there are several: its family."""

    def look_soon(self) -> None:
        """This version may wait for room, or may have given some up."""

    def shares_template(self, spec: FunctionSpec, *, besides: "Standing") -> bool:
        """Whether another version has the same template."""

    def used(self) -> int:
        """How many instances of all versions together live and have run an event."""

    def taking(self) -> "Sequence[Standing]":
        """The versions that get events which ask for none."""

    def capacity(self, now_ns: int) -> int:
        """How many more events could run now."""


class Standing:
    """Its name, its pool, and what they tell. `Runner` runs it."""

    def __init__(self, function: Function, tree: Tree, name: str) -> None:
        self.function = function
        self.name = name
        self.release = number_of(name)
        """The number of the release that it runs; 0 if the function was not deployed."""
        self.record = Record()
        """What its events are counted in."""
        self.family: Others | None = None
        self.has_choice = False
        """Whether its family has to be asked what becomes of an event."""
        self._leads = AT not in name  # the function itself, of whose capacity consumers ask
        self._pool: Pool[Call, Instance] = Pool(self._settings(function), time.monotonic_ns())
        self._key_of: KeyOf | None = key_of(function.pool.reuse)  # None: every event may have every instance
        self.watched = self._capacity = Capacity(self.capacity)
        self._on_capacity = self._capacity.callbacks
        """Empty if no queue has this function: then nothing is looked at on the warm path."""
        self._meter = tree.meters.of(function.spec.name)
        self.is_draining = False
        """Whether the server accepts no more events: then capacity is 0, and announcements are ignored."""

    def _carry_out(self, actions: list[Action[Call, Instance]]) -> None:
        """Carry out the pool's decisions and arm its next tick."""
        raise NotImplementedError

    def _settings(self, function: Function) -> PoolSettings:
        """Reserved instances are those of the version that serves; a variant has what its events need."""
        return function.pool if self._leads else replace(function.pool, reserved=0)

    @property
    def pool(self) -> Pool[Call, Instance]:
        """Its instances, for those who share a limit with it."""
        return self._pool

    def join(self, family: Others, joint: Joint[Instance], capacity: Capacity) -> None:
        """There are several versions: they share a limit, and the `capacity` of the function, which consumers watch."""
        self.family, self._pool.joint = family, joint
        self.has_choice = not self._leads
        self._capacity, self._on_capacity = capacity, capacity.callbacks

    def leave_family(self) -> None:
        """This is the only version again."""
        self.family = self._pool.joint = None
        self.has_choice = False
        self._carry_out([])

    def label(self, release: int) -> None:
        """From now on it runs this release."""
        self.release = release
        for instance in self._pool.members():
            instance.log.release = release

    @property
    def has_keys(self) -> bool:
        """Whether not every event may have every instance."""
        return self._key_of is not None

    def key(self, event: Event) -> str | None:
        """The key of the event, if the function has keys."""
        return None if self._key_of is None else self._key_of(event)

    def _key_of_call(self, call: Call) -> str | None:
        return self.key(call.event)

    def _note_used(self) -> None:
        """Note how many have run an event: after each start and at each tick, as the warm path has no time for it."""
        now = self._pool.statistics()
        self._meter.note_used(now.idle + now.busy if self.family is None else self.family.used())

    def capacity(self) -> int:
        """Return how many more events could run now; 0 while the function cannot load or the server drains."""
        if self.is_draining:
            return 0
        now_ns = time.monotonic_ns()
        return self.room(now_ns) if self.family is None else self.family.capacity(now_ns)

    def room(self, now_ns: int) -> int:
        """Return how many more events this version could run now."""
        return self._pool.room(now_ns)

    def on_capacity(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the event loop each time capacity rises from 0."""
        self._capacity.watch(callback)

    def expect(self, at_ns: int) -> None:
        """Have an instance ready for an event at `at_ns`, of each version that may get it."""
        if not self.is_draining:
            for one in (self,) if self.family is None else self.family.taking():
                one.announce(at_ns)

    def announce(self, at_ns: int) -> None:
        """Have an instance of this version ready for an event at `at_ns`."""
        self._pool.announced.add(at_ns)
        self._carry_out([])

    @property
    def is_expecting(self) -> bool:
        """Whether an announced event is so near that an instance must be ready for it."""
        return self._pool.announced.wants_start(time.monotonic_ns())

    def statistics(self) -> Statistics:
        return self._pool.statistics()

    def instances(self) -> list[Instance]:
        """Every live instance."""
        return self._pool.members()

    def calls(self) -> dict[str, int]:
        """How many calls run in each busy instance, by its id."""
        return {instance.id: count for instance, count in self._pool.calls().items()}
