"""The running server as one value: its parts, and the configuration that they serve now.

Code that needs several parts gets this value, or a function that returns the current one. A reload replaces it as a
whole, at the moment of the switch; a value that somebody already holds does not change.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import anyio
from msgspec import Struct, field

from bus.bus import Bus
from bus.message import inbox
from dispatcher.dispatcher import Dispatcher
from forklight.config import http, queue
from forklight.config.configuration import Config
from forklight.observe.function_status import function_statuses
from forklight.observe.function_usage import usage_now
from forklight.observe.observer import Observer
from forklight.observe.queue_status import LIMIT_S, lost_stores, queue_statuses
from forklight.observe.status import QueueStatus, Reloaded, Status, TimerStatus, Usage
from forklight.observe.timer_status import timer_statuses
from forklight.serving.deployments import Deployments, unserved
from forklight.serving.isolation import isolation_of
from forklight.serving.renewal import Readings, Served
from forklight.serving.stores import Stores
from forklight.serving.strays import Stray, Strays
from forklight.serving.triggers import Triggers
from forklight.serving.versions import Versions
from forklight.state.directory import State
from sandbox.tree import Tree


class Running(Struct, frozen=True, kw_only=True):
    """All parts live as long as the server. A reload changes `config` and applies it to them."""

    config: Config
    state: State
    versions: Versions
    """What was last read from disk: at the start, or by the last reload that succeeded."""
    deployments: Deployments
    """The base configuration and the deployed applications, of which `config` and `versions` are made."""
    reloaded: Reloaded
    readings: Readings = field(default_factory=Readings)
    guest: Path
    """The snapshot of the guest's code."""
    stores: Stores
    tree: Tree
    dispatcher: Dispatcher
    bus: Bus
    triggers: Triggers
    strays: Strays
    observer: Observer
    draining: bool = False
    started_s: float = field(default_factory=time.monotonic)

    @property
    def brokers(self) -> frozenset[str]:
        """The names of `[brokers.NAME]`."""
        return frozenset(map(str, self.config.settings.brokers))

    def served(self) -> dict[str, Served]:
        """What decides for each function whether a reload renews it."""
        found = {}
        for name, version in self.versions.functions.items():
            found[name] = Served(
                spec=version.spec,
                contents=version.contents,
                loaded=self.tree.files_of(version.spec),
                at_rest=not self.tree.has(version.spec),
                problem=self.tree.problem_of(version.spec),
            )
        return found

    def status(self) -> Status:
        """The server and its functions now, without queues and timers. Reads /proc once per live process."""
        return Status(
            pid=os.getpid(),
            uptime_s=time.monotonic() - self.started_s,
            draining=self.draining,
            isolation=isolation_of(self.config),
            reload=self.reloaded,
            unserved=unserved(self.deployments),
            zygotes_kb=sum(zygote.rss_kb for zygote in self.tree.zygotes()),
            machine=self.dispatcher.machine.status(),
            functions=function_statuses(self.dispatcher, self.tree, _triggers(self.config)),
        )

    def usage(self) -> Usage:
        """What the functions have held and used so far. Reads /proc once per live process."""
        return usage_now(self.dispatcher, self.tree)

    async def queue_statuses(self) -> tuple[QueueStatus, ...]:
        """The queues and strays, as far as their stores answer in time."""
        strays: list[Stray] = []
        with anyio.move_on_after(LIMIT_S):
            strays = await self.strays.find(self.config.queues)
        return (*await queue_statuses(self.bus, self.config.queues), *(stray.status for stray in strays))

    def timer_statuses(self, count: int = 1) -> tuple[TimerStatus, ...]:
        """Every timer, each with up to `count` times to come."""
        return timer_statuses(self.config.timers, self.triggers.timers.statistics(), datetime.now(UTC), count)

    def lost_stores(self) -> list[str]:
        """The stores that cannot accept messages now. Timers always need the embedded one."""
        lost = lost_stores(self.bus, self.brokers)
        return lost if self.stores.embedded.is_connected or "bus" in lost else [*lost, "store.db"]


Current = Callable[[], Running]
"""Returns the current server. A request calls it once, so that it sees one configuration."""


def _triggers(config: Config) -> dict[str, tuple[str, ...]]:
    """The triggers of each function as `ps` lists them, without inboxes."""
    found: dict[str, list[str]] = defaultdict(list)
    for route in config.routes:
        found[route.function].append(f"http {http.told(route)}")
    for trigger in config.queues:
        if trigger.queue != inbox(trigger.function):
            found[trigger.function].append(f"queue {queue.told(trigger)}")
    for timer in config.timers:
        found[timer.function].append(f"timer {timer.schedule.text}")
    return {function: tuple(triggers) for function, triggers in found.items()}
