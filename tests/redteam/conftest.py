"""What the tests of attacks share."""

from collections.abc import AsyncIterator

import pytest

from sandbox.containment import Level
from tests.kit.support import Bench, hosted_tree

LEVELS = (Level.LIMITS,)


@pytest.fixture(params=LEVELS, ids=str)
def level(request: pytest.FixtureRequest) -> Level:
    """Each level that this machine has."""
    return Level(request.param)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A running process tree over `tests/functions`."""
    async with hosted_tree() as running:
        yield running
