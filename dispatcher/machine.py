"""The machine: has functions start, wait and make room as its budget decides, and reads what the budget is told.

`budget.py` decides. Sizes of processes come from the sweep's measurements of each instance, memory pressure from the
kernel (PSI), where there is one.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from dispatcher.budget import LEAST_BYTES, PATIENCE_NS, Booking, Budget, Limits
from dispatcher.machine_state import MachineState
from dispatcher.relief import Holder, relieve
from sandbox import hardware
from sandbox.instance import Instance
from sandbox.tree import Tree

log = logging.getLogger(__name__)

LOOK_NS = 1_000_000_000
"""How often charges are corrected, and memory pressure is read, while there are instances."""
TIGHT, TIGHT_LOOK_NS = 0.5, 250_000_000
"""From this part of the budget's memory on, charges are corrected as often as busy instances are measured."""
POLL_NS = 20_000_000
"""How often room is looked for while functions wait: idle instances and ends of calls are not reported."""
ASK_NS = 200_000_000
"""How often the functions that wait are asked whether they still have to: their events may have left the line."""
LOG_NS = 60_000_000_000
"""A full machine is logged no more often."""
MOST_NAMES = 5


class Levels(Struct, frozen=True):
    """From where on something is held back, and below which it is resumed."""

    begin: float
    end: float


SPARES_PRESSURE = Levels(10.0, 5.0)
LOADS_PRESSURE = Levels(20.0, 10.0)
"""Per cent of the last 10 s in which some task waited for memory (`some avg10`). A healthy machine is near 0."""
SPARES_USED = Levels(0.90, 0.80)
LOADS_USED = Levels(0.95, 0.85)
"""Parts of the budget's memory."""


class Tenant(Protocol):
    """One function, as the machine sees it: its runner."""

    @property
    def name(self) -> str: ...

    def holder(self) -> "Holder[Tenant, Instance]":
        """What it has that could make room."""

    def wants_room(self, now_ns: int) -> bool:
        """Whether it would start an instance if there was room."""

    def has_room(self, now_ns: int) -> None:
        """Start what has waited for room, be it a spare."""

    def hold_spares(self, hold: bool, now_ns: int) -> None:
        """Have no spares while `hold`."""

    def retire(self, instance: Instance, now_ns: int) -> None:
        """End this instance: at once if it is idle, else after its calls."""

    def instances(self) -> list[Instance]:
        """Every live instance."""


class Machine:
    """One per server. Its functions ask it before they start an instance."""

    def __init__(self, limits: Limits, tree: Tree) -> None:
        self._tree = tree
        self._loop = asyncio.get_running_loop()
        self._budget: Budget[Tenant, Instance] = Budget(limits)
        self._tenants: dict[Tenant, None] = {}
        self._is_settling_soon = False
        self._look_ns = self._read_ns = 0
        """When to look next at the instances, and at everything else."""
        self._asked_ns = 0
        """When the functions that wait were last asked whether they still have to."""
        self._logged_ns: int | None = None
        self.shortage = ""
        """Which limit leaves no room for the functions that wait, for people; empty if none does."""
        self.pressure_file = hardware.PRESSURE
        self._pressure: float | None = None
        self._spares_held = self._loads_held = False
        self._spareless: set[Tenant] = set()
        """Functions for whose spares there was no room."""
        self._evictions: Counter[str] = Counter(idle=0, busy=0)
        self.give_up: Callable[[], bool] = lambda: False
        """Ends a few processes that nothing served needs, before instances must go. Returns whether there were any."""
        self._gave_up_ns = 0
        self._watch = tree.sweep.watch(self)

    def __repr__(self) -> str:
        return f"<Machine: {self._budget.charged_bytes} bytes, {self._budget.count} instances>"

    @property
    def limits(self) -> Limits:
        return self._budget.limits

    def resize(self, limits: Limits) -> None:
        """Change the limits. What exceeds them ends as it falls idle, or when others need the room."""
        self._budget.limits = limits
        self._read_ns = 0
        self.settle_soon()

    def open(self, tenant: Tenant, reserved: int) -> None:
        """Keep an account of this function, or change the number of its reserved instances."""
        self._tenants[tenant] = None
        self._budget.open(tenant, reserved)
        if self._spares_held:
            self._loop.call_soon(tenant.hold_spares, True, time.monotonic_ns())

    def close(self, tenant: Tenant) -> None:
        """The function has no process any more, and will start none."""
        self._tenants.pop(tenant, None)
        self._spareless.discard(tenant)
        self._budget.close(tenant)

    def request(self, tenant: Tenant, *, loads: bool) -> Booking[Tenant] | None:
        """Book a start. None: the function waits, and `has_room` is called when there is room."""
        booking = self._budget.admit(tenant, time.monotonic_ns(), loads=loads)
        if booking is None:
            self._note_shortage()
            self.settle_soon()
        return booking

    def request_spare(self, tenant: Tenant, *, loads: bool) -> Booking[Tenant] | None:
        """Book the start of a spare. None: there is no room, and `has_room` is called when there is."""
        now_ns = time.monotonic_ns()
        if self._budget.has_spare_room(tenant, now_ns, loads=loads):
            return self._budget.admit(tenant, now_ns, loads=loads)
        self._spareless.add(tenant)
        return None

    def started(self, booking: Booking[Tenant], instance: Instance) -> None:
        """A start succeeded."""
        self._budget.started(booking, instance, time.monotonic_ns())
        self._watch.expect(time.monotonic_ns() + LOOK_NS)
        if booking.loads:
            self._charge_templates()
        self._turn_is_over()

    def failed(self, booking: Booking[Tenant]) -> None:
        """A start failed."""
        self._budget.failed(booking)
        self._turn_is_over()

    def place(self, tenant: Tenant, instance: Instance) -> None:
        """A reload started this instance, whatever room there was."""
        self._budget.place(tenant, instance, self._budget.estimate_bytes(tenant), time.monotonic_ns())

    def ended(self, instance: Instance) -> None:
        """An instance is gone."""
        self._budget.ended(instance)
        self._turn_is_over()

    def status(self) -> MachineState:
        """The budget now."""
        return MachineState(
            memory_bytes=self._budget.charged_bytes,
            memory_limit_bytes=self.limits.memory_bytes,
            instances=self._budget.count,
            max_instances=self.limits.max_instances,
            waiting=tuple(tenant.name for tenant in self._budget.waiting()),
            lack=self._budget.lack() or "",
            spares_held=self._spares_held,
            loads_held=self._loads_held,
            pressure=self._pressure,
            evictions=dict(self._evictions),
        )

    def tick(self, now_ns: int) -> int | None:
        """Called by the tree's sweep. Return when to be called again: never while there is nothing to look at."""
        if now_ns >= self._look_ns:
            self._measure()
            self._look_ns = now_ns + (TIGHT_LOOK_NS if self._used() > TIGHT else LOOK_NS)
        if now_ns >= self._read_ns:
            self._read_ns = now_ns + LOOK_NS
            self._charge_templates()
            self._pressure = hardware.memory_pressure(self.pressure_file)
            self._hold_back(now_ns)
        return self._settle(now_ns)

    def settle_soon(self) -> None:
        """Look for room in this turn of the event loop, once for all that ask."""
        if not self._is_settling_soon:
            self._is_settling_soon = True
            self._loop.call_soon(self._settle_now)

    def _turn_is_over(self) -> None:
        if self._budget.is_awaited:
            self.settle_soon()

    def _settle_now(self) -> None:
        self._is_settling_soon = False
        if (at_ns := self._settle(time.monotonic_ns())) is not None:
            self._watch.expect(at_ns)

    def _settle(self, now_ns: int) -> int | None:
        """Give room to those that wait, and make more. Return when to look again."""
        if self._budget.is_awaited:
            self._admit(now_ns)
        again_ns = None
        if (self._budget.is_awaited or self._budget.is_over) and not self._is_giving_up(now_ns):
            again_ns = self._relieve(now_ns)
        self._note_shortage()
        if self._budget.is_awaited:
            self._log_shortage(now_ns)
            return min(now_ns + POLL_NS, again_ns or now_ns + POLL_NS)
        return self._look_ns if self._budget.count or self._loads_held or self._spares_held else None

    def _is_giving_up(self, now_ns: int) -> bool:
        """Whether memory is short, and comes free as processes end that nothing served needs."""
        if not (self._budget.is_over or self._budget.lack() == "memory"):
            return False
        if now_ns >= self._gave_up_ns + PATIENCE_NS:
            if not self.give_up():
                return False
            self._gave_up_ns = now_ns
        self._charge_templates()
        return True

    def _note_shortage(self) -> None:
        match self._budget.lack():
            case "memory":
                limit_mib = (self.limits.memory_bytes or 0) >> 20
                self.shortage = f"[machine] memory allows {limit_mib} MiB, which are taken"
            case "max_instances":
                self.shortage = f"[machine] max_instances allows {self.limits.max_instances}, which are taken"
            case None:
                self.shortage = ""

    def _admit(self, now_ns: int) -> None:
        if now_ns >= self._asked_ns + ASK_NS:
            self._asked_ns = now_ns
            for tenant in self._budget.waiting():
                if not tenant.wants_room(now_ns):
                    self._budget.withdraw(tenant)
                    tenant.has_room(now_ns)
        while (chosen := self._budget.next(now_ns)) is not None:
            count = self._budget.count
            chosen.has_room(now_ns)
            if self._budget.count == count and self._budget.next(now_ns) == chosen:  # because the server ends
                self._budget.withdraw(chosen)

    def _relieve(self, now_ns: int) -> int | None:
        relief = relieve(self._budget, [tenant.holder() for tenant in self._budget.holders()], now_ns)
        for tenant, instance in (*relief.evicted, *relief.given_up):
            tenant.retire(instance, now_ns)
        self._evictions["idle"] += len(relief.evicted)
        self._evictions["busy"] += len(relief.given_up)
        return relief.again_ns

    def _log_shortage(self, now_ns: int) -> None:
        is_new = self._logged_ns is None or now_ns >= self._logged_ns + LOG_NS
        if is_new and self.shortage:
            self._logged_ns = now_ns
            names = [tenant.name for tenant in self._budget.waiting()]
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            log.warning(
                "the machine is full: %s; waiting for room: %s%s", self.shortage, ", ".join(names[:MOST_NAMES]), more
            )

    def _used(self) -> float:
        """The part of the budget's memory that is charged."""
        limit = self.limits.memory_bytes
        return self._budget.charged_bytes / limit if limit else 0.0

    def _measure(self) -> None:
        for tenant in self._tenants:
            for instance in tenant.instances():
                if instance.held.own_kb:  # else it was not measured yet
                    self._budget.measured(instance, instance.held.own_kb * 1024)

    def _charge_templates(self) -> None:
        zygotes_kb = sum(zygote.rss_kb for zygote in self._tree.zygotes())
        own = (max(LEAST_BYTES, one.look_kb() * 1024) for one in self._tree.templates())
        self._budget.charge_fixed((zygotes_kb + self._tree.forwarder_kb) * 1024 + sum(own))

    def _hold_back(self, now_ns: int) -> None:
        """While memory is short, have no spares, and then no loads in the background."""
        pressure, used = self._pressure or 0.0, self._used()
        hold_spares = _is_over(self._spares_held, (pressure, SPARES_PRESSURE), (used, SPARES_USED))
        hold_loads = _is_over(self._loads_held, (pressure, LOADS_PRESSURE), (used, LOADS_USED))
        if hold_spares and self.give_up():  # they go before the spares
            hold_spares = self._spares_held
        if hold_spares != self._spares_held:
            self._spares_held = hold_spares
            for tenant in tuple(self._tenants):
                tenant.hold_spares(hold_spares, now_ns)
        if hold_loads != self._loads_held:
            self._loads_held = hold_loads
            self._tree.background.shut() if hold_loads else self._tree.background.open()
        if not hold_spares:
            self._resume_spares(now_ns)

    def _resume_spares(self, now_ns: int) -> None:
        """Let the functions try again whose spares had no room, as far as there is room."""
        for tenant in tuple(self._spareless):
            if self._budget.has_spare_room(tenant, now_ns, loads=False):
                self._spareless.discard(tenant)
                tenant.has_room(now_ns)


def _is_over(is_held: bool, *measured: tuple[float, Levels]) -> bool:
    """Whether something is to be held back: any figure has reached its level, or is not below the end of it again."""
    return any(figure >= (levels.end if is_held else levels.begin) for figure, levels in measured)
