"""A change of the served functions: prepared as a whole, then switched, or undone without a trace."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Set

import anyio

from dispatcher.dispatcher import Dispatcher
from dispatcher.settings import Function
from sandbox.errors import LoadFailed, StartFailed
from sandbox.instance import Instance
from sandbox.places import template_key
from sandbox.proving import is_proven, prove
from sandbox.spec import FunctionSpec
from sandbox.tree import BACKGROUND_LOADS, Tree


class NotLoaded(Exception):
    """At least one function cannot load; `errors` has the reason of each, by name, and `specs` what did not."""

    def __init__(self, errors: dict[str, LoadFailed | StartFailed], specs: Mapping[str, FunctionSpec]) -> None:
        super().__init__("; ".join(f"{name}: {error}" for name, error in errors.items()))
        self.errors = errors
        self.specs = specs


class Change:
    """Use `open_change`. Call `add`, `switch` and `remove` in this order, each at most once; none of them can fail."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        tree: Tree,
        functions: Mapping[str, Function],
        may_wait: Set[str],
        loaded: Callable[[str, int], None],
    ) -> None:
        served = {name: runner.function for name, runner in dispatcher.runners().items()}
        self.added = sorted(functions.keys() - served.keys())
        self.changed = sorted(name for name in served.keys() & functions.keys() if served[name] != functions[name])
        self.removed = sorted(served.keys() - functions.keys())
        self._dispatcher = dispatcher
        self._tree = tree
        self._functions = functions
        self._may_wait = may_wait
        self._loaded = loaded
        self._fresh: dict[str, list[Instance]] = {}
        self._is_added = self._is_switched = False
        self._used = {template_key(function.spec) for function in served.values()}
        self._hold(self.added + self.changed)

    def _hold(self, names: Iterable[str]) -> None:
        """Have the process tree keep exactly these of the new versions, which nothing serves yet.

        They may be what an earlier change has replaced, and what follows that would end them.
        """
        keys = {template_key(self._functions[name].spec) for name in names}
        self._tree.held["change"] = frozenset(keys - self._used)

    def add(self) -> None:
        """Serve the new functions. The end of the block undoes this, unless `switch` was called."""
        for name in self.added:
            self._dispatcher.add(name, self._functions[name])
        self._is_added = True
        self._hold(self.changed)

    def switch(self) -> None:
        """Run new and waiting events on the changed versions; each old instance ends after its calls.

        All functions switch in one step of the event loop: no event sees only some of them changed.
        """
        for name in self.changed:
            self._dispatcher.renew(name, self._functions[name], self._fresh.pop(name, []))
        self._is_switched = True
        self._hold(())

    def remove(self) -> None:
        """Stop serving the removed functions. Their triggers must have stopped."""
        for name in self.removed:
            self._dispatcher.remove(name)

    async def prepare(self) -> None:
        """Load every template needed, then start the instances that must be ready. Raises NotLoaded."""
        new = {name: self._functions[name] for name in (*self.added, *self.changed) if name not in self._may_wait}
        specs = {name: function.spec for name, function in new.items()}
        if errors := await load_all(self._tree, specs, self._loaded):
            raise NotLoaded(errors, specs)
        at_once = anyio.CapacityLimiter(self._dispatcher.machine.limits.forks)
        async with anyio.create_task_group() as starting:
            for name in (name for name in self.changed if name in new):
                self._fresh[name] = []
                for _ in range(self._ready_at_once(name)):
                    starting.start_soon(self._start, name, at_once)

    async def _start(self, name: str, at_once: anyio.CapacityLimiter) -> None:
        async with at_once:
            with contextlib.suppress(LoadFailed, StartFailed):  # the pool will try again
                instance, _ = await self._tree.start(self._functions[name].spec)
                self._fresh[name].append(instance)

    def _ready_at_once(self, name: str) -> int:
        """How many instances of the new version must be ready when it is switched to."""
        pool, runner = self._functions[name].pool, self._dispatcher.runners()[name]
        return min(max(pool.reserved, int(runner.is_expecting)), pool.max_instances)

    def undo(self) -> None:
        """End everything that was made for the change, unless it was switched."""
        if self._is_switched:
            return
        self._hold(())
        for instances in self._fresh.values():
            for instance in instances:
                instance.leave()
        if self._is_added:
            for name in self.added:
                self._dispatcher.remove(name)
        for name in self.changed if self._is_added else (*self.added, *self.changed):
            if template_key(self._functions[name].spec) not in self._used:
                self._tree.drop(self._functions[name].spec)


@contextlib.asynccontextmanager
async def open_change(
    dispatcher: Dispatcher,
    tree: Tree,
    functions: Mapping[str, Function],
    *,
    may_wait: Set[str] = frozenset(),
    loaded: Callable[[str, int], None] = lambda name, of: None,
) -> AsyncIterator[Change]:
    """Prepare a change to exactly these functions, to be switched inside the block; undo it afterwards if it was not.

    Those that `may_wait` are not loaded: they have no process, and nothing that they see has changed. `loaded` is
    called for each function that has been, and with how many there are to load.
    Only one change may be open at a time. Raises NotLoaded before the block if a function cannot load; then nothing
    has changed.
    """
    change = Change(dispatcher, tree, functions, may_wait, loaded)
    try:
        await change.prepare()
        yield change
    finally:
        change.undo()


async def load_all(
    tree: Tree, specs: Mapping[str, FunctionSpec], loaded: Callable[[str, int], None] = lambda name, of: None
) -> dict[str, LoadFailed | StartFailed]:
    """Load each that is not proven yet, as far as `prove` does.

    Return the errors of those that cannot load, by the same names.
    """
    errors: dict[str, LoadFailed | StartFailed] = {}
    at_once = anyio.CapacityLimiter(BACKGROUND_LOADS)

    async def load(name: str, spec: FunctionSpec) -> None:
        async with at_once:
            try:
                await prove(tree, spec)
            except (LoadFailed, StartFailed) as error:
                errors[name] = error
            else:
                loaded(name, len(specs))

    async with anyio.create_task_group() as loading:
        for name, spec in specs.items():
            if is_proven(tree, spec):  # as all of them are that a rollback goes back to
                loaded(name, len(specs))
            else:
                loading.start_soon(load, name, spec)
    return dict(sorted(errors.items()))
