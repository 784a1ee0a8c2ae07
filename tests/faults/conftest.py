"""What the fault tests share."""

from collections.abc import AsyncIterator

import pytest

from tests.support import Bench, hosted_tree


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A running process tree over `tests/functions`."""
    async with hosted_tree() as running:
        yield running
