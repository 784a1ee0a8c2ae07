"""In which order templates are loaded in the background: what is needed first, first. `by_expected_use` is pure."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from math import inf
from pathlib import Path

from forklight.config.configuration import Config
from forklight.observe.entry import NOT_RUN
from forklight.observe.kept.files import read_latest
from triggers.timer.schedule import next_after
from triggers.timer.settings import Timer

log = logging.getLogger(__name__)

SOON = timedelta(minutes=5)
"""A timer that is due later says nothing about what is needed first."""
LATEST_BYTES = 256 * 1024
"""So much of the end of the kept log is looked at: some hundred invocations, in a few milliseconds."""


def expected_use(config: Config, state: Path, now: datetime) -> list[str]:
    """Return the names of all functions, those that are likely to be needed first, first. Blocks."""
    reserved = {name for name, function in config.functions.items() if function.pool.reserved}
    return by_expected_use(tuple(config.functions), reserved, _due_s(config.timers, now), _uses(state))


def by_expected_use(
    names: Sequence[str], reserved: Iterable[str], due_s: Mapping[str, float], uses: Mapping[str, int]
) -> list[str]:
    """Those with `reserved` instances, then those whose timers are due, the soonest first, then those used most lately.

    What is left, or equal, stays in the order of `names`.
    """
    first = set(reserved)
    return sorted(names, key=lambda name: (name not in first, due_s.get(name, inf), -uses.get(name, 0)))


def _due_s(timers: Iterable[Timer], now: datetime) -> dict[str, float]:
    """In how many seconds the next timer of a function is due, if soon."""
    found: dict[str, float] = {}
    for timer in timers:
        at = None
        with suppress(Exception):  # the timer trigger finds the same, and reports it
            at = next_after(timer.schedule, now)
        if at is not None and at - now <= SOON:
            found[timer.function] = min((at - now).total_seconds(), found.get(timer.function, inf))
    return found


def _uses(state: Path) -> Counter[str]:
    """How many of the latest invocations of the servers before this one were each function's."""
    uses: Counter[str] = Counter()
    try:
        for kept in read_latest(state, LATEST_BYTES):
            if kept.entry.outcome not in ("", NOT_RUN):
                uses[kept.entry.function] += 1
    except OSError as error:
        log.warning("the kept log cannot be read, so templates are loaded in the order of the file: %s", error)
    return uses
