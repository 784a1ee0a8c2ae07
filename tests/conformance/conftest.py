"""One tree for each runtime, which all cases of a file share."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from msgspec.structs import replace

from bus import Outcome
from sandbox.instance import Instance
from sandbox.spec import FunctionSpec
from tests.conformance.runtimes import Subject, subjects
from tests.kit.support import Bench, event, hosted_tree

FILES = "broken", "never_ready", "missing", "unset"
"""What is named by a file of its own."""


class Runtimes(NamedTuple):
    """A tree, and the runtime under test."""

    bench: Bench
    subject: Subject

    def spec(self, name: str, **settings: Any) -> FunctionSpec:
        """The function of this name."""
        pattern = self.subject.file if name in FILES else self.subject.handler
        runtime = self.subject.runtime(self.bench.runtime.python)
        made = self.bench.spec("conformance", name, **({"env": {"GREETING": "hello"}, "runtime": runtime} | settings))
        return replace(made, handler=pattern.format(name))

    async def start(self, name: str, **settings: Any) -> Instance:
        """A new instance of it."""
        return (await self.bench.tree.start(self.spec(name, **settings)))[0]

    async def outcome(self, name: str, body: bytes = b"{}", **settings: Any) -> Outcome:
        """Of one call on an instance of its own."""
        instance = await self.start(name, **settings)
        try:
            return await instance.invoke(event(body))
        finally:
            instance.leave()


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=subjects(), ids=lambda subject: subject.name)
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[Runtimes]:
    async with hosted_tree() as bench:
        yield Runtimes(bench, request.param)
        assert asyncio.get_running_loop().is_running()
