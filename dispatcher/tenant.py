"""A function as a tenant of the machine: what its starts cost and need, and the instances that it could give up."""

import time
from collections.abc import Awaitable, Callable

from bus.outcome import StartKind
from dispatcher.actions import Action
from dispatcher.budget import Booking
from dispatcher.call import Call
from dispatcher.loads import Loads
from dispatcher.machine import Machine, Tenant
from dispatcher.pool import Pool
from dispatcher.relief import Holder, Idle
from dispatcher.settings import Function
from sandbox.instance import Instance

CarryOut = Callable[[list[Action[Call, Instance]]], None]


Booked = Booking[Tenant]


class FunctionTenant:
    """Stands between the pool of one function and the machine. `carry_out` is for what the pool then decides."""

    def __init__(
        self, function: Function, pool: Pool[Call, Instance], loads: Loads, machine: Machine, carry_out: CarryOut
    ) -> None:
        self.name = function.spec.name
        """Also that of its variants, of which each is a tenant of its own."""
        self._function = function
        self._pool = pool
        self._loads = loads
        self._machine = machine
        self._carry_out = carry_out
        self._shortage, self._short_ns = "", 0
        """What the machine lacked, and when it last lacked it for a start of this function."""
        machine.open(self, pool.settings.reserved)

    def open(self, function: Function, reserved: int) -> None:
        """The function is served, in this version from now on."""
        self._function = function
        self._machine.open(self, reserved)

    def close(self) -> None:
        """It has no process any more, and will start none."""
        self._machine.close(self)

    def book(self, *, spare: bool) -> Booked | None:
        """Book a start that the pool has decided. None: there is no room, and the pool waits until there is.

        A spare waits for no room and takes none from others.
        """
        if spare:
            return self._book_spare()
        booking = self._machine.request(self, loads=not self._loads.note(self._function.spec))
        if booking is None:
            self._pool.put_off()
            self._note_shortage(time.monotonic_ns())
        return booking

    def _book_spare(self) -> Booked | None:
        booking = self._machine.request_spare(self, loads=not self._loads.note(self._function.spec))
        if booking is None:
            self._carry_out(self._pool.put_off_spare(time.monotonic_ns()))
        return booking

    def cancel(self, booking: Booked) -> None:
        """The start is not begun."""
        self._machine.failed(booking)

    async def started(
        self, booking: Booked, start: Awaitable[tuple[Instance, StartKind]]
    ) -> tuple[Instance, StartKind]:
        """Await the start, and turn its booking into the charge of its instance."""
        try:
            instance, kind = await start
        except BaseException:
            self._machine.failed(booking)
            raise
        instance.on_dead = self._machine.ended
        self._machine.started(booking, instance)
        return instance, kind

    def place(self, instance: Instance) -> None:
        """A reload has started this instance, whatever room there was."""
        self._machine.place(self, instance)

    def ended(self, instance: Instance) -> None:
        """An instance is gone."""
        self._machine.ended(instance)

    def shortage(self) -> str:
        """Return what leaves no room for a start now, for people; empty if the limits do not."""
        return self._machine.shortage if self._pool.is_put_off else ""

    def shortage_since(self, accepted_ns: int) -> str:
        """Return what the machine lacked at any time since then."""
        return self._shortage if self._short_ns >= accepted_ns else ""

    def holder(self) -> Holder[Tenant, Instance]:
        """What the machine could ask it to give up."""
        idle = self._pool.dispensable(time.monotonic_ns())
        kinds: tuple[StartKind, ...] = ("fork",) if self._loads.note(self._function.spec) else ("load", "boot")
        return Holder(
            owner=self,
            surplus=self._pool.surplus(),
            start_cost_s=(self._loads.costs.largest_ns(*kinds) or 0) / 1e9,
            idle=[Idle(instance, instance.invocations, since_ns) for instance, since_ns in idle.items()],
            busy=self._pool.serving(),
        )

    def wants_room(self, now_ns: int) -> bool:
        """Whether it would still start an instance: its events may have left."""
        self._note_shortage(now_ns)
        return self._pool.wants_room(now_ns)

    def has_room(self, now_ns: int) -> None:
        """The machine may have room for a start that it had none for."""
        self._carry_out(self._pool.resume(now_ns))

    def hold_spares(self, hold: bool, now_ns: int) -> None:
        """Have no spares while `hold`, because memory is short."""
        self._carry_out(self._pool.hold_spares(hold, now_ns))

    def retire(self, instance: Instance, now_ns: int) -> None:
        """End an instance: at once if it is idle, else after its calls."""
        self._carry_out(self._pool.retire(instance, now_ns))

    def instances(self) -> list[Instance]:
        """Every live instance."""
        return self._pool.members()

    def _note_shortage(self, now_ns: int) -> None:
        if self._machine.shortage:
            self._shortage, self._short_ns = self._machine.shortage, now_ns
