"""What tests of the dispatcher share: a dispatcher over a running tree, and gates that hold its handlers."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio

from bus import Failed, Outcome
from dispatcher.actions import Statistics
from dispatcher.dispatcher import Dispatcher
from dispatcher.settings import Function, PoolSettings
from sandbox.instance import Instance
from sandbox.spec import FunctionSpec
from tests.kit.support import answer, event, failure, readable_folder
from tests.kit.targets import outcome_of


class Served:
    """One function at work, called "f"."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher

    async def call(self, data: Any = None) -> Outcome:
        return await outcome_of(self.dispatcher, event(json.dumps(data).encode(), function="f"))

    def begin(self, data: Any = None) -> "asyncio.Task[Outcome]":
        """A call that runs on its own."""
        return asyncio.create_task(self.call(data))

    async def pid(self, data: Any = None) -> int:
        """Who answered a call that has to go well."""
        found = answer(await self.call(data))
        assert isinstance(found, int)
        return found

    async def failure(self, data: Any = None) -> Failed:
        return failure(await self.call(data))

    def now(self) -> Statistics:
        return self.dispatcher.statistics()["f"]

    def ready(self) -> int:
        """How many instances run nothing."""
        return self.now().idle + self.now().spare

    def instances(self) -> list[Instance]:
        return self.dispatcher.runners()["f"].instances()

    def running(self) -> int:
        """How many instances have been handed an event and have not answered it."""
        return sum(instance.state == "busy" for instance in self.instances())

    def pids(self) -> set[int]:
        return {instance.pid for instance in self.instances()}


@contextlib.asynccontextmanager
async def serving(tree: Any, spec: FunctionSpec, **pool: Any) -> AsyncIterator[Served]:
    """The function `spec` behind a dispatcher of its own, with these settings of its pool; no spares by default."""
    async with anyio.create_task_group() as tasks:
        dispatcher = Dispatcher({"f": Function(spec=spec, pool=PoolSettings(**{"spare": 0, **pool}))}, tree, tasks)
        yield Served(dispatcher)
        dispatcher.stop()
        tasks.cancel_scope.cancel()


class Gate:
    """A FIFO at which handlers wait; `release` lets so many of them through, now or when they come."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o666)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDWR)

    def release(self, count: int = 1) -> None:
        os.write(self._fd, b"x" * count)

    def close(self) -> None:
        os.close(self._fd)


@contextlib.contextmanager
def closed_gate() -> Iterator[Gate]:
    """A gate that nobody has passed yet."""
    with readable_folder() as folder, contextlib.closing(Gate(folder / "gate")) as gate:
        yield gate
