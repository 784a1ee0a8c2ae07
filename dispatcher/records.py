"""The counters of each function's outcomes: plain integers, bumped in place and read at a scrape."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from bus import Failed, Outcome
from dispatcher.histogram import Histogram, merged
from dispatcher.split import base_name

MOST_CODES = 100
"""Distinct codes per function: each is a series of a metric."""
MOST_BEFORE = 8
"""Earlier versions of a function that are counted apart. A call of an even older one may be counted in vain."""
OTHER = "other"
_OURS = frozenset(("throttled", "unknown_function"))
"""Kinds whose codes a function cannot choose, so that they are always counted by name."""
SPARE = "spare"
"""Beside the start kinds: the event met an instance that was forked ahead. To everybody else it is `warm`."""
_READY = ("warm", SPARE)


def _fine() -> Histogram:
    return Histogram(fine=True)


class Record:
    """The counters of one function."""

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        """by `ok` or the failure's kind"""
        self.failures: dict[str, int] = {}
        """by code; a function can raise any exception, so codes beyond MOST_CODES count as `other`"""
        self.waits: defaultdict[str, Histogram] = defaultdict(_fine)
        """By start kind or `spare`, finely: what events waited for, those of `warm` and `spare` until they were given
        to the instance, all others until the handler began."""
        self._cold_waits = Histogram()
        """those that had to wait for a start, until they were given to the instance"""
        self.ran = Histogram()
        self.cpu_ns = 0
        self.last_failure = ""

    def add(self, outcome: Outcome) -> None:
        start = outcome.start
        if isinstance(outcome, Failed):
            self.outcomes[str(outcome.kind)] += 1
            self._count_failure(outcome)
            self.last_failure = f"{outcome.kind}/{outcome.code}: {outcome.message}"
        else:
            self.outcomes["ok"] += 1
        if start is not None:
            timings = outcome.timings
            waited_ns = timings.assigned_ns - timings.accepted_ns
            if start != "warm":
                self._cold_waits.add(waited_ns)
                waited_ns = timings.started_ns - timings.accepted_ns
            name = SPARE if outcome.spare else start
            self.waits[name].add(waited_ns)
            self.ran.add(timings.finished_ns - timings.started_ns)
            self.cpu_ns += outcome.cpu_ns

    def _count_failure(self, failed: Failed) -> None:
        code: str = failed.code
        if code not in self.failures and len(self.failures) >= MOST_CODES and failed.kind not in _OURS:
            code = OTHER
        self.failures[code] = self.failures.get(code, 0) + 1

    @property
    def starts(self) -> dict[str, int]:
        """How many events reached an instance, by start kind."""
        counts: dict[str, int] = {}
        for name, waits in self.waits.items():
            kind = "warm" if name == SPARE else name
            counts[kind] = counts.get(kind, 0) + waits.count
        return counts

    @property
    def spares(self) -> int:
        """How many of the `warm` starts met a spare."""
        return self.waits[SPARE].count if SPARE in self.waits else 0

    @property
    def waited(self) -> Histogram:
        """From acceptance to assignment to an instance."""
        return merged([self._cold_waits, *(self.waits[name] for name in _READY if name in self.waits)])

    def absorb(self, other: "Record") -> None:
        """Add what another record has counted before."""
        for kind, count in other.outcomes.items():
            self.outcomes[kind] += count
        for code, count in other.failures.items():
            kept = code if code in self.failures or len(self.failures) < MOST_CODES else OTHER
            self.failures[kept] = self.failures.get(kept, 0) + count
        for name, waits in other.waits.items():
            own = [self.waits[name]] if name in self.waits else []
            self.waits[name] = merged([waits, *own], fine=True)
        self._cold_waits = merged([self._cold_waits, other._cold_waits])
        self.ran = merged([self.ran, other.ran])
        self.cpu_ns += other.cpu_ns
        self.last_failure = self.last_failure or other.last_failure


class Records(Mapping[str, Record]):
    """By function: what was counted since it is served, over all its versions.

    Each version is counted in a record of its own. A call knows its record from the start, so one that ends late is
    counted by the version that ran it.
    """

    def __init__(self) -> None:
        self._now: dict[str, dict[str, Record]] = {}
        """by function, then by its own name and those of its variants: the record of the version served now"""
        self._before: dict[str, list[Record]] = {}
        """by function: the records of its versions that are not served any more, the latest first"""
        self.retired: dict[str, Record] = {}
        """by name: of functions that were removed, whether or not they were added again"""

    def __getitem__(self, function: str) -> Record:
        """The sum over all versions. If there was only one, it is the record that goes on counting."""
        found = [*self._now[function].values(), *self._before.get(function, ())]
        return found[0] if len(found) == 1 else _sum(found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)

    def of(self, name: str) -> Record:
        """The record of the version that this function or variant has now."""
        return self._now[base_name(name)][name]

    def open(self, name: str) -> Record:
        """Count for a function or a variant that is served from now on."""
        record = self._now.setdefault(base_name(name), {})[name] = Record()
        return record

    def renew(self, name: str) -> Record:
        """Count its next version, which serves from now on."""
        self._put_aside(base_name(name), self.of(name))
        return self.open(name)

    def close(self, name: str) -> None:
        """It is not served any more."""
        function = base_name(name)
        self._put_aside(function, self._now[function].pop(name))
        if not self._now[function]:
            del self._now[function]
            latest, *others = self._before.pop(function)
            for record in (*others, self.retired.get(function)):
                if record is not None:
                    latest.absorb(record)
            self.retired[function] = latest

    def sort(self, functions: Iterable[str]) -> None:
        """Put them into this order, which has to have all of them."""
        self._now = {name: self._now[name] for name in functions}

    def _put_aside(self, function: str, record: Record) -> None:
        """The calls that still run add to this record, so only those of earlier versions are merged."""
        before = self._before.setdefault(function, [])
        before.insert(0, record)
        if len(before) > MOST_BEFORE:
            last = before.pop()
            before[-1].absorb(last)


def _sum(records: Iterable[Record]) -> Record:
    found = Record()
    for record in records:
        found.absorb(record)
    return found
