"""When a canary is aborted by itself: the rule, which is pure, and the task that watches.

The rule. Of each function, the failures of the canary are compared with those of the live version, in the latest ten
minutes (or since the canary began, or its share was changed). It is aborted if all of this is true of one function:

- the canary had at least 20 events;
- it failed at least one and a half times as often as the live version;
- chance does not explain it: if both versions failed equally often, the canary would have so many of the failures that
  there were, or more, less than once in a million. That is the one-sided exact test of Fisher (1935): failures fall on
  the canary like balls drawn without replacement from an urn.

A failure is an error, timeout, crash, failed load or breach of the function. What is throttled, could not be stored or
has no function says nothing about the code, and is not counted. One in a million is strict, because the rule is asked
every second, as long as there is a canary.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from math import exp, lgamma
from typing import Protocol

import anyio
from msgspec import Struct

from dispatcher.dispatcher import Dispatcher
from dispatcher.records import Record
from dispatcher.split import variant_name
from forklight.serving.deployment import ApplicationStatus, Deployed

log = logging.getLogger(__name__)

WINDOW_S = 600.0
LEAST_EVENTS = 20
LEAST_RATIO = 1.5
CHANCE = 1e-6
_STEP_S = 10.0
"""How far apart the counts are that the window may begin with."""
_LOOK_S = 1.0
FAILURES = frozenset(("error", "timeout", "crash", "load", "protocol"))


class Counts(Struct, frozen=True):
    """Events of one version of a function that say something about its code, and how many of them failed."""

    events: int = 0
    failures: int = 0

    def since(self, before: "Counts") -> "Counts":
        """Return what was counted since then; all of it if the counting began anew."""
        if self.events < before.events or self.failures < before.failures:
            return self
        return Counts(self.events - before.events, self.failures - before.failures)


class Pair(Struct, frozen=True):
    """The counts of a function's live version and of its canary."""

    live: Counts = Counts()
    canary: Counts = Counts()

    def since(self, before: "Pair") -> "Pair":
        """Return what was counted since then."""
        return Pair(self.live.since(before.live), self.canary.since(before.canary))


def counts_of(record: Record) -> Counts:
    """Return the counts of a record."""
    failures = sum(count for kind, count in record.outcomes.items() if kind in FAILURES)
    return Counts(events=failures + record.outcomes.get("ok", 0), failures=failures)


def counts_from(dispatcher: Dispatcher, function: str, release: int) -> Counts | None:
    """Return the counts of a release of a function; None if it is not served."""
    runner = dispatcher.runners().get(function)
    name = function if runner is not None and runner.release == release else variant_name(function, release)
    return counts_of(dispatcher.records.of(name)) if name in dispatcher.runners() else None


def must_abort(pair: Pair) -> bool:
    """Whether the canary fails too often."""
    live, canary = pair.live, pair.canary
    if canary.events < LEAST_EVENTS or not live.events:
        return False
    if canary.failures * live.events < LEAST_RATIO * live.failures * canary.events:
        return False
    return chance(pair) < CHANCE


def chance(pair: Pair) -> float:
    """Return the probability that the canary has so many of all failures, or more, if both fail equally often."""
    events = pair.live.events + pair.canary.events
    failures = pair.live.failures + pair.canary.failures
    most = min(failures, pair.canary.events)
    total = 0.0
    for count in range(pair.canary.failures, most + 1):
        term = exp(
            _log_choose(failures, count)
            + _log_choose(events - failures, pair.canary.events - count)
            - _log_choose(events, pair.canary.events)
        )
        total += term
        if term < total * 1e-9 and count * events > failures * pair.canary.events:  # beyond the mean they only fall
            break
    return min(1.0, total)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) if 0 <= k <= n else float("-inf")


class Window:
    """The counts of the functions of one canary, over the latest `WINDOW_S`. Pure; times are in seconds."""

    def __init__(self) -> None:
        self._known: deque[tuple[float, Mapping[str, Pair]]] = deque()

    def note(self, now: Mapping[str, Pair], now_s: float) -> dict[str, Pair]:
        """Add the counts so far. Return what was counted within the window."""
        known = self._known
        if not known or now_s >= known[-1][0] + _STEP_S:
            known.append((now_s, now))
        while len(known) > 1 and known[1][0] <= now_s - WINDOW_S:
            known.popleft()
        before = known[0][1]
        return {name: pair.since(before.get(name, Pair())) for name, pair in now.items()}


class Deploying(Protocol):
    """What deploys."""

    def applications(self) -> tuple[ApplicationStatus, ...]:
        """What is deployed."""

    async def abort(self, application: str, *, by: str, reason: str = "") -> Deployed:
        """End the canary."""


class CanaryWatch:
    """Looks at all canaries every second. `counts` returns those of a release of a function, if it is served."""

    def __init__(
        self, deployer: Deploying, counts: Callable[[str, int], Counts | None], is_on: Callable[[], bool]
    ) -> None:
        self._deployer = deployer
        self._counts = counts
        self._is_on = is_on
        self._windows: dict[tuple[object, ...], Window] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await anyio.sleep(_LOOK_S)
            await self.look(time.monotonic())

    async def look(self, now_s: float) -> None:
        """Abort the canaries that fail too often now."""
        apps = [one for one in self._deployer.applications() if one.canary is not None] if self._is_on() else []
        windows = {_key(one): self._windows.get(_key(one)) or Window() for one in apps}
        self._windows = windows
        for app in apps:
            pairs = windows[_key(app)].note(self._pairs(app), now_s)
            found = [_told(app, name, pair) for name, pair in pairs.items() if must_abort(pair)]
            if found:
                done = await self._deployer.abort(app.name, by="", reason="; ".join(found))
                if not done.ok:
                    del windows[_key(app)]  # so that it is tried again when the rule is met anew
                    log.warning("the canary of %s fails too often, and could not be aborted: %s", app.name, done.error)

    def _pairs(self, app: ApplicationStatus) -> dict[str, Pair]:
        pairs = {}
        for name in next((one.functions for one in app.releases if one.number == app.canary), ()):
            live, canary = self._counts(name, app.live or 0), self._counts(name, app.canary or 0)
            if live is not None and canary is not None:
                pairs[name] = Pair(live, canary)
        return pairs


def _key(app: ApplicationStatus) -> tuple[object, ...]:
    """What begins a window anew when it changes."""
    return app.name, app.live, app.canary, app.canary_percent


def _told(app: ApplicationStatus, name: str, pair: Pair) -> str:
    live, canary = pair.live, pair.canary
    return (
        f"{name} failed {canary.failures} of {canary.events} events as version {app.canary}, "
        f"and {live.failures} of {live.events} as version {app.live}"
    )
