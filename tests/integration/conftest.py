"""What the integration tests share."""

from collections.abc import AsyncIterator

import pytest

from tests.kit.stores import KINDS, StoreFactory
from tests.kit.support import Bench, hosted_tree


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A running process tree over `tests/functions`."""
    async with hosted_tree() as running:
        yield running


@pytest.fixture(params=sorted(KINDS))
def stores(request: pytest.FixtureRequest) -> StoreFactory:
    """Opens the store of the test, again and again the same one; each test runs once for every kind of store."""
    return KINDS[request.param](request)
