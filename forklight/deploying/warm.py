"""The templates of releases that a rollback would go back to: they stay loaded for a while, so that it only forks."""

import time
from collections.abc import Callable, Iterable

from dispatcher.split import AT
from forklight.serving.running import Running
from sandbox.places import Key, template_key
from sandbox.spec import FunctionSpec


class Warm:
    """Holds versions in the process tree until their time is over or nothing goes back to them any more."""

    def __init__(self, running: Callable[[], Running]) -> None:
        self._running = running
        self._until_s: dict[Key, float] = {}
        self._specs: dict[Key, FunctionSpec] = {}

    def hold(self, specs: Iterable[FunctionSpec], keep_s: float) -> None:
        """Hold exactly these versions from now on, as far as they have processes. Those that were held keep their time.

        Call it before the switch that ends them.
        """
        tree, now_s = self._running().tree, time.monotonic()
        wanted = {template_key(spec): spec for spec in specs if tree.has(spec)}
        kept_s = {key: self._until_s.get(key, now_s + keep_s) for key in wanted}
        self._until_s = dict.fromkeys(self._until_s, now_s) | kept_s
        self._specs |= wanted
        tree.held = frozenset(self._until_s)

    def tick(self) -> None:
        """End the versions whose time is over, unless they serve."""
        running, now_s = self._running(), time.monotonic()
        over = [key for key, until_s in self._until_s.items() if until_s <= now_s]
        for key in over:
            del self._until_s[key]
        running.tree.held = frozenset(self._until_s)
        used = {
            template_key(runner.function.spec)
            for name, runner in running.dispatcher.runners().items()
            if AT not in name or runner.function.pool.rest == "template" or runner.instances()
        }
        for key in over:
            spec = self._specs.pop(key)
            if key not in used:
                running.tree.drop(spec)

    def due_s(self, most_s: float) -> float:
        """In how many seconds `tick` is due, at most `most_s`."""
        return min([most_s, *(max(0.0, until_s - time.monotonic()) for until_s in self._until_s.values())])
