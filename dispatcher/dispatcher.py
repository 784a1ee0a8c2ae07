"""The dispatcher: finds the function of an event, runs the event in its pool, and returns the outcome."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import anyio
import anyio.abc

from bus import Event, Outcome
from bus.in_flight import InFlight
from dispatcher import outcomes
from dispatcher.actions import Statistics
from dispatcher.budget import UNLIMITED, Limits
from dispatcher.call import Call
from dispatcher.machine import Machine
from dispatcher.records import Record
from dispatcher.runner import Runner
from dispatcher.settings import Function
from sandbox.instance import Instance
from sandbox.tree import Tree


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
        self._runners: dict[str, Runner] = {}
        self._ending: dict[str, Runner] = {}
        """Removed functions, by name, that still run accepted events."""
        self.records: dict[str, Record] = {}
        self.retired: dict[str, Record] = {}
        """By name: of functions that were removed, whether or not they were added again."""
        for name in dict.fromkeys((*order, *functions)):
            self.add(name, functions[name])
        self._runners = {name: self._runners[name] for name in functions}
        self.records = {name: self.records[name] for name in functions}
        self._open = InFlight()
        self._draining = False

    def begin(self, event: Event, done: Callable[[Outcome], None]) -> Call:
        """Run the event's function. `done` gets the outcome, in a later turn of the loop; every failure is one."""
        accepted_ns = time.monotonic_ns()
        name = event.function or ""
        runner = self._runners.get(name)
        # the record is looked up now, because the function may be removed while the event runs
        record = Record() if runner is None else self.records[name]
        call = Call(event, accepted_ns, done, runner, record=record, in_flight=self._open)
        if runner is None:
            self._loop.call_soon(call.end, outcomes.unknown_function(event.function))
        elif self._draining:
            self._loop.call_soon(call.end, outcomes.draining())
        else:
            runner.begin(call)
        return call

    def add(self, name: str, function: Function) -> None:
        """Serve one more function. A removed one that has not ended yet is served again."""
        self._ending = {name: runner for name, runner in self._ending.items() if not runner.is_gone}
        runner = self._ending.pop(name, None)
        if runner is None:
            runner = Runner(function, self._tree, self._tasks, self.machine)
        else:
            runner.renew(function, [])
        self._runners[name] = runner
        self.records[name] = Record()
        self._tree.meters.of(name).served.change(1, time.monotonic_ns())

    def renew(self, name: str, function: Function, fresh: list[Instance]) -> None:
        """Run waiting and new events on this version, first on `fresh`; old instances end after their calls."""
        self._runners[name].renew(function, fresh)

    def remove(self, name: str) -> None:
        """Stop serving this function. Accepted events still run; then its instances and template end."""
        runner = self._ending[name] = self._runners.pop(name)
        record = self.records.pop(name)
        record.absorb(self.retired.get(name, Record()))
        self.retired[name] = record
        self._tree.meters.of(name).served.change(-1, time.monotonic_ns())
        runner.wind_up()

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
        """The statistics of each pool, by function."""
        return {name: runner.statistics() for name, runner in self._runners.items()}

    def runners(self) -> Mapping[str, Runner]:
        """The served functions, by name."""
        return self._runners
