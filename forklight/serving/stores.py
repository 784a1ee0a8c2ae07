"""The stores of messages, open while we serve: the bus's own, and one for each of `[brokers.NAME]`."""

import contextlib
from collections.abc import AsyncIterator

from msgspec import Struct

from bus import rabbitmq
from bus.sqlite import SqliteStore, open_sqlite
from bus.store import Store
from forklight.config.functions import Settings
from forklight.config.queue import declarations_of
from forklight.state.directory import State

FILE = "store.db"


class Stores(Struct, frozen=True):
    """`embedded` is always open: it has the facts of this node."""

    own: Store
    brokers: dict[str, Store]
    embedded: SqliteStore


@contextlib.asynccontextmanager
async def open_stores(settings: Settings, state: State, application: rabbitmq.Application) -> AsyncIterator[Stores]:
    """Open the stores for the time of the block. Raises StoreError, which names the store and the remedy."""
    declared = declarations_of(settings.queues, settings.brokers)
    async with contextlib.AsyncExitStack() as stack:
        embedded = await stack.enter_async_context(open_sqlite(state.path / FILE))
        own: Store = embedded
        if not settings.bus.url.is_embedded:
            opened = rabbitmq.open_rabbitmq(settings.bus.url, application, declarations=declared[""])
            own = await stack.enter_async_context(opened)
        brokers: dict[str, Store] = {}
        for name, broker in settings.brokers.items():
            opened = rabbitmq.open_rabbitmq(broker.url, application, declarations=declared[str(name)])
            brokers[str(name)] = await stack.enter_async_context(opened)
        yield Stores(own, brokers, embedded)
