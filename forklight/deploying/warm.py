"""The templates of what a rollback would go back to: loaded ahead, and kept for a while, so that it only forks.

Theory of operation. What a rollback goes back to is the release before the live one, and the one that the latest change
has left. Most of their templates live when a change makes them so: they are *held*, which keeps the process tree from
ending them with their release. The others, such as all of them after a start of the server, are loaded here, one at a
time, when everything that is served has been loaded. Each is held for `keep_warm`, counted from then.

They are the first to go when memory lacks (`give_up`): nothing that is served needs them, and without them a rollback
takes as long as loading the code. What has ended here, or could not be loaded, is not loaded again until it has served.
"""

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial

import anyio
from msgspec import Struct

from dispatcher.settings import Function
from forklight.deploying.ahead import drop_unused, used
from forklight.serving.running import Running
from sandbox.errors import LoadFailed, StartFailed
from sandbox.places import Key, template_key
from sandbox.proving import prove
from sandbox.spec import FunctionSpec

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""How often it is looked whether everything that is served has been loaded."""
GIVEN_UP = 4
"""How many templates end at a time when memory lacks. One is often enough, and all at once would hold up events."""


class _Held(Struct):
    spec: FunctionSpec
    until_s: float | None
    """When its time is over; None while it is still to be loaded."""


class Warm:
    """Holds versions in the process tree until their time is over or nothing goes back to them any more."""

    def __init__(self, running: Callable[[], Running]) -> None:
        self._running = running
        self._held: dict[Key, _Held] = {}
        self._wanted: set[Key] = set()
        """Those that a rollback goes back to."""
        self._over: set[Key] = set()
        """Those of them that have ended, or could not be loaded."""
        self._keep_s = 0.0
        self._missing = anyio.Event()

    def hold(self, functions: Iterable[Function], keep_s: float) -> None:
        """Hold exactly these versions from now on. Those that were held keep their time; others have `keep_s`.

        Call it before the switch that ends them, and `tick` after it.
        """
        tree, now_s, before = self._running().tree, time.monotonic(), self._held
        wanted = {template_key(function.spec): function for function in functions}
        self._wanted = set(wanted)
        self._over &= self._wanted
        self._keep_s = keep_s
        held = {key: _Held(one.spec, now_s) for key, one in before.items() if one.until_s is not None}
        for key, function in wanted.items():
            if tree.has(function.spec):
                was = before.get(key)
                held[key] = _Held(function.spec, now_s + keep_s if was is None else was.until_s or now_s + keep_s)
                self._over.discard(key)
            elif keep_s and key not in self._over and _loads_ahead(function):
                held[key] = _Held(function.spec, None)
        self._change(held)

    def tick(self) -> None:
        """End the versions whose time is over, unless they serve."""
        now_s = time.monotonic()
        self._end([key for key, one in self._held.items() if one.until_s is not None and one.until_s <= now_s])

    def due_s(self, most_s: float) -> float:
        """In how many seconds `tick` is due, at most `most_s`."""
        now_s = time.monotonic()
        left_s = (max(0.0, one.until_s - now_s) for one in self._held.values() if one.until_s is not None)
        return min([most_s, *left_s])

    def give_up(self) -> bool:
        """End a few versions because memory lacks, and load no others. Return whether any process ends for that."""
        if not self._held:
            return False
        serving = used(self._running())
        ending = [key for key, one in self._held.items() if key not in serving and one.until_s is not None][:GIVEN_UP]
        given_up = {key: one.spec for key, one in self._held.items() if key in ending}
        missing = [key for key, one in self._held.items() if one.until_s is None]
        self._forget([*missing, *given_up] if ending else self._held)
        for spec in given_up.values():
            self._running().tree.drop(spec)
        if ending:
            log.info("memory lacks: %d templates that a rollback would fork from have ended", len(ending))
        return bool(ending)

    async def keep_loaded(self) -> None:
        """Load what is held and has no process, for ever: one at a time, and after everything that is served."""
        while True:
            missing = self._missing
            while (key := next((key for key, one in self._held.items() if one.until_s is None), None)) is not None:
                await self._load(key, self._held[key].spec)
            await missing.wait()

    async def _load(self, key: Key, spec: FunctionSpec) -> None:
        while self._is_loading():  # noqa: ASYNC110  the process tree tells nobody
            await anyio.sleep(LOOK_S)
        tree = self._running().tree
        await tree.background.wait()
        if key not in self._held:
            return
        try:
            await prove(tree, spec)
        except (LoadFailed, StartFailed) as error:
            log.info("%s: the version %s of a kept release cannot be loaded: %s", spec.name, spec.version, error)
            self._end([key])
            return
        if key in self._held:
            self._held[key].until_s = time.monotonic() + self._keep_s
        else:  # nothing goes back to it any more
            drop_unused(self._running(), spec)

    def _is_loading(self) -> bool:
        """Whether a template of what is served is not there yet."""
        running = self._running()
        functions = [runner.function for runner in running.dispatcher.runners().values()]
        kept = [function.spec for function in functions if function.pool.rest == "template"]
        return any(running.tree.template_of(spec) is None for spec in kept)

    def _end(self, keys: Iterable[Key]) -> None:
        """Hold these no more, and end them, one at a time, unless they serve."""
        ending = {key: self._held[key].spec for key in keys if key in self._held}
        self._forget(ending)
        for spec in ending.values():
            self._running().dispatcher.run_afterwards(partial(drop_unused, self._running(), spec))

    def _forget(self, keys: Iterable[Key]) -> None:
        """Hold these no more, and load them no more as long as a rollback goes back to them."""
        gone = frozenset(keys)
        self._over |= gone & self._wanted
        self._change({key: one for key, one in self._held.items() if key not in gone})

    def _change(self, held: dict[Key, _Held]) -> None:
        self._held = held
        self._running().tree.held["rollback"] = frozenset(held)
        self._missing.set()
        self._missing = anyio.Event()


def _loads_ahead(function: Function) -> bool:
    """Whether it keeps a template at rest, and its code is here."""
    spec = function.spec
    return function.pool.rest == "template" and (spec.fetch is None or spec.code.exists())
