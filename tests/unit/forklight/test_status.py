"""What `ps` and a scrape are told, of a real tree with a real pool."""

import contextlib
from collections.abc import AsyncIterator

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bus import Failed
from dispatcher.dispatcher import Dispatcher
from dispatcher.pool import Statistics
from dispatcher.runner import Function
from dispatcher.settings import PoolSettings
from forklight import metrics
from forklight.status import FunctionStatus, function_statuses
from tests.support import Bench, answer, event, running_tree

pytestmark = pytest.mark.ordinary_user
NOTHING = Statistics(starting=0, idle=0, busy=0, leaving=0, waiting=0)


@contextlib.asynccontextmanager
async def _dispatching(**handlers: str) -> AsyncIterator[tuple[Bench, Dispatcher]]:
    """Functions by name, each `folder:handler` of `tests/functions`."""
    async with running_tree() as bench, anyio.create_task_group() as tasks:
        specs = {name: bench.spec(*handler.split("/"), name=name) for name, handler in handlers.items()}
        functions = {name: Function(spec=spec, pool=PoolSettings()) for name, spec in specs.items()}
        dispatcher = Dispatcher(functions, bench.tree, tasks)
        yield bench, dispatcher
        dispatcher.stop()
        tasks.cancel_scope.cancel()


def _by_name(statuses: tuple[FunctionStatus, ...]) -> dict[str, FunctionStatus]:
    return {status.name: status for status in statuses}
