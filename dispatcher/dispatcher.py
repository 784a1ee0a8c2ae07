"""The dispatcher: finds the function of an event, runs the event in its pool, and returns the outcome."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import anyio
import anyio.abc
from msgspec.structs import replace

from bus import Event, Outcome
from bus.in_flight import InFlight
from dispatcher import outcomes
from dispatcher.actions import Statistics
from dispatcher.afterwards import Afterwards
from dispatcher.budget import UNLIMITED, Limits
from dispatcher.call import Call
from dispatcher.family import Family
from dispatcher.machine import Machine
from dispatcher.records import Record, Records
from dispatcher.renewing import Renewing
from dispatcher.runner import Runner
from dispatcher.settings import Function
from dispatcher.split import AT, Split, base_name, variant_name
from sandbox.instance import Instance
from sandbox.tree import Tree

LONGEST_VERSION = 64
"""Characters of a version's number or an alias."""


class Dispatcher:
    """The bus's target. An event that it accepts gets exactly one outcome, unless its caller leaves first."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        tree: Tree,
        tasks: anyio.abc.TaskGroup,
        limits: Limits = UNLIMITED,
        *,
        order: Iterable[str] = (),
    ) -> None:
        """`limits`: of all functions together. Templates are loaded in the background in this `order` of functions; the
        rest follows as it comes."""
        self._loop = asyncio.get_running_loop()
        self._tree = tree
        self._tasks = tasks
        self.machine = Machine(limits, tree)
        self._afterwards = Afterwards(tasks)
        self._runners: dict[str, Renewing] = {}
        self._ending: dict[str, Renewing] = {}
        """Removed functions and variants, by name, that still run accepted events."""
        self._families: dict[str, Family] = {}
        """By name, of the functions that have variants."""
        self.summon: Callable[[str], Function | None] = lambda name: None
        """Returns a variant that is not served so far, when an event asks for it by its name; None if there is none."""
        self.number_of: Callable[[str, str], int | None] = lambda function, version: None
        """Returns the number of the release that `7` or an alias means for a function; None if there is none."""
        self.absence: Callable[[str, int], str] = lambda function, number: ""
        """Returns why a kept release cannot be summoned for a function now; empty if there is no such reason."""
        self.records = Records()
        for name in sorted(dict.fromkeys((*order, *functions)), key=lambda name: AT in name):
            self.add(name, functions[name])
        self._runners = {name: self._runners[name] for name in functions}
        self.records.sort(name for name in functions if AT not in name)
        self._open = InFlight()
        self._draining = False

    def begin(self, event: Event, done: Callable[[Outcome], None]) -> Call:
        """Run the event's function. `done` gets the outcome, in a later turn of the loop; every failure is one.

        The function may be one that has variants, a variant, or the `NAME@NUMBER` of the version that serves.
        """
        accepted_ns = time.monotonic_ns()
        runner = self._runners.get(event.function or "")
        if runner is None or runner.has_choice:
            return self._begin_chosen(event, done, accepted_ns)
        # the record is taken now, because the function may be renewed or removed while the event runs
        call = Call(event, accepted_ns, done, runner, record=runner.record, in_flight=self._open)
        if self._draining:
            self._loop.call_soon(call.end, outcomes.draining())
        else:
            runner.begin(call)
        return call

    def _begin_chosen(self, event: Event, done: Callable[[Outcome], None], accepted_ns: int) -> Call:
        """Do what `begin` does, of a function with several versions, or for an event that asks for one of them."""
        name = event.function or ""
        runner = self._chosen(event)
        if AT in name:  # the handler gets it as any other
            event = replace(event, function=base_name(name), fixed=b"")
        record = Record() if runner is None else runner.record
        call = Call(event, accepted_ns, done, runner, record=record, in_flight=self._open)
        if runner is None:
            self._loop.call_soon(call.end, outcomes.unknown_function(name))
        elif self._draining:
            self._loop.call_soon(call.end, outcomes.draining())
        elif (family := self._families.get(base_name(name))) is not None:
            family.begin(call, runner)
        else:
            runner.begin(call)
        return call

    def _chosen(self, event: Event) -> Runner | None:
        """Return the version that is to run the event. None: there is no such function or version."""
        name = event.function or ""
        base = self._runners.get(base_name(name))
        if AT in name:
            is_base = base is not None and base.release and name == variant_name(base_name(name), base.release)
            return base if is_base or base is None else self._runners.get(name) or self._summoned(name)
        family = self._families.get(name)
        return base if family is None or base is None else family.choose(event)

    def _summoned(self, name: str) -> Runner | None:
        """Serve a variant from now on because an event asks for it. The next change of what is served ends that."""
        function = self.summon(name)
        if function is None:
            return None
        self.add(name, function)
        return self._runners[name]

    def add(self, name: str, function: Function) -> None:
        """Serve one more function, or a variant of one. What has not ended yet since it was removed is served again.

        Raises LookupError for a variant of a function that is not served.
        """
        base = base_name(name)
        family = None if base == name else self._family(base)
        self._ending = {name: runner for name, runner in self._ending.items() if not runner.is_gone}
        runner = self._ending.pop(name, None)
        if runner is None:
            runner = Renewing(function, self._tree, self._tasks, self.machine, self._afterwards, name=name)
        else:
            runner.renew(function, [])
        runner.record = self.records.open(name)
        self._runners[name] = runner
        if family is not None:
            family.add(runner)
            return
        self._tree.meters.of(name).served.change(1, time.monotonic_ns())
        if (family := self._families.get(name)) is not None:
            family.rebase(runner)

    def _family(self, function: str) -> Family:
        family = self._families.get(function)
        if family is None:
            base = self._runners[function]
            family = self._families[function] = Family(base, self._tree.sweep, partial(self._is_over, function))
        return family

    def _is_over(self, function: str) -> None:
        """Only one version of the function is left."""
        del self._families[function]

    def version(self, function: str, wanted: str) -> str:
        """Return the name by which `begin` knows this version: a number, an alias, `live` or `canary`.

        Empty if the function was not deployed. Raises LookupError, which says which versions are served.
        """
        base = self._runners.get(function)
        if base is None or not base.release:
            return ""
        roles = {"live": base.release}
        for one in self._variants(function):
            if self.share(one.name):
                roles["canary"] = one.release
        number = roles.get(wanted) or (self.number_of(function, wanted) if len(wanted) <= LONGEST_VERSION else None)
        name = variant_name(function, number or 0)
        if number != base.release and name not in self._runners and (number is None or self.summon(name) is None):
            if number is not None and (why := self.absence(function, number)):
                raise LookupError(f"{function}: {why}")
            serving = " and ".join(f"{number} ({role})" for role, number in roles.items())
            here = f"{serving} {'serve' if len(roles) > 1 else 'serves'}"
            kept = "forklight versions lists those that are kept, and the aliases"
            raise LookupError(f"{function} has no version {wanted[:LONGEST_VERSION]!r}: {here}; {kept}")
        return name

    def _variants(self, function: str) -> list[Runner]:
        family = self._families.get(function)
        return [] if family is None else family.variants()

    def divide(self, splits: Mapping[str, tuple[str, float]]) -> None:
        """From now on events are divided in exactly this way: by function, a variant and its share. See `split`."""
        for function, family in self._families.items():
            if function not in splits:
                family.divide(None)
        for function, (variant, share) in splits.items():
            self.split(function, variant, share)

    def split(self, function: str, variant: str, share: float) -> None:
        """From now on this share of the function's events, from 0 to 1, goes to the variant.

        A function has one split at a time, which ends with its variant. Raises LookupError if the variant is not
        served, ValueError for any other share.
        """
        if base_name(variant) != function or variant not in self._runners:
            raise LookupError(f"{variant!r} is no variant of {function!r} that is served")
        self._families[function].divide(Split(variant, share) if share else None)

    def share(self, name: str) -> float:
        """Return which part, from 0 to 1, of the events that ask for no version this function or variant gets."""
        family = self._families.get(base_name(name))
        return float(base_name(name) == name) if family is None else family.share(self._runners[name])

    def label(self, function: str, release: int) -> None:
        """From now on the function's events run on this release (0: on none), and are counted apart from those before.

        Its instances may be those of an earlier release in which the function was the same.
        """
        runner = self._runners[function]
        if runner.release != release:
            runner.record = self.records.renew(function)
            runner.label(release)

    def renew(self, name: str, function: Function, fresh: list[Instance]) -> None:
        """Run waiting and new events on this version, first on `fresh`; old instances end after their calls."""
        self._runners[name].renew(function, fresh)

    def remove(self, name: str) -> None:
        """Stop serving this function or variant. Accepted events still run; then its instances and template end."""
        runner = self._ending[name] = self._runners.pop(name)
        self.records.close(name)
        if (base := base_name(name)) != name:
            self._families[base].remove(runner)
            if base in self._runners:
                self._runners[base].retirement.absorb(runner.retirement)
        else:
            self._tree.meters.of(name).served.change(-1, time.monotonic_ns())
        runner.wind_up()

    def run_afterwards(self, piece: Callable[[], None]) -> None:
        """Run this in a later turn of the loop, after what follows the latest switch."""
        self._afterwards.add(piece)

    def pool(self, function: str) -> Runner:
        """Return the pool that triggers of the function may ask. Raises LookupError if the function does not exist."""
        return self._runners[function]

    async def drain(self, limit_s: float) -> int:
        """Refuse new events and wait for the accepted ones. Return how many had no outcome after `limit_s`."""
        self._draining = True
        self._tree.settle()
        for runner in self._runners.values():
            runner.is_draining = True
        with anyio.move_on_after(limit_s):
            await self._open.wait_none()
        return self._open.count

    def stop(self) -> None:
        """Start no more instances, not even to replace dead ones: the tree is about to end."""
        for runner in (*self._runners.values(), *self._ending.values()):
            runner.stop()

    def statistics(self) -> dict[str, Statistics]:
        """The statistics of each pool, by function or variant."""
        return {name: runner.statistics() for name, runner in self._runners.items()}

    def runners(self) -> Mapping[str, Runner]:
        """The served functions and variants, by name."""
        return self._runners
