"""Prometheus metrics: every name is in this file. Nothing is counted here; a scrape reads the counters.

Names follow Prometheus's conventions (base units, `_total`). Labels are few, to keep the number of series low.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from dispatcher.histogram import BUCKETS_S, Histogram
from dispatcher.machine_state import MachineState
from dispatcher.records import Record
from dispatcher.split import base_name
from forklight.observe.status import FunctionStatus, QueueStatus, Reloaded, Usage
from forklight.observe.tally import CLASSES, Tally
from triggers.timer.work import TimerStatistics

START_BUCKETS_S = (0.0001, 0.00025, 0.0005, *BUCKETS_S)
"""Finer, because a start may take less than a millisecond."""
_MIB = 1024 * 1024
Families = list[Metric]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def gather(
    records: Mapping[str, Record],
    functions: Sequence[FunctionStatus],
    queues: Sequence[QueueStatus],
    tally: Tally,
    timers: Sequence[TimerStatistics] = (),
    *,
    reloaded: Reloaded | None = None,
    usage: Usage | None = None,
    machine: MachineState | None = None,
) -> Families:
    """Return all families as they are now. They share nothing with the server: `text` may run in a thread."""
    collectors: list[Collector] = [_Reloads(reloaded)] if reloaded is not None else []
    if machine is not None:
        collectors.append(_Machine(machine))
    collectors += (_Functions(records, functions), _Versions(functions))
    if usage is not None:
        collectors.append(_Used(records, usage))
    collectors += (_Triggers(queues, tally), _Timers(timers, tally))
    return [family for collector in collectors for family in collector.collect()]


def text(families: Sequence[Metric]) -> bytes:
    """Return the answer to a scrape, in Prometheus's text format. With a thousand functions it takes a while."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(families))
    return generate_latest(registry)


class _Gathered(Collector):
    """Families that have been made."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        """Return all families."""
        return self._families


class _Reloads(Collector):
    """Whether what is on disk could be read and served."""

    def __init__(self, reloaded: Reloaded) -> None:
        self._reloaded = reloaded

    def collect(self) -> Iterator[Metric]:
        """Return all families."""
        now = self._reloaded
        yield GaugeMetricFamily("forklight_last_reload_successful", "1, or 0 if it failed", value=float(now.ok))
        yield GaugeMetricFamily(
            "forklight_last_reload_success_timestamp_seconds",
            "When the server last started or reloaded",
            value=now.succeeded_at.timestamp(),
        )


class _Machine(Collector):
    """What all processes hold together, and what that leaves no room for. A limit that is not set has no sample."""

    def __init__(self, machine: MachineState) -> None:
        self._machine = machine

    def collect(self) -> Iterator[Metric]:
        """Return all families."""
        now = self._machine
        memory = GaugeMetricFamily(
            "forklight_machine_memory_bytes", "What all processes are charged, and may be", labels=["what"]
        )
        instances = GaugeMetricFamily(
            "forklight_machine_instances", "Instances of all functions, and how many there may be", labels=["what"]
        )
        for family, used, limit in (
            (memory, now.memory_bytes, now.memory_limit_bytes),
            (instances, now.instances, now.max_instances),
        ):
            family.add_metric(["used"], used)
            if limit is not None:
                family.add_metric(["limit"], limit)
        yield from (memory, instances)
        yield GaugeMetricFamily(
            "forklight_machine_waiting_functions", "Functions that wait for room", value=len(now.waiting)
        )
        evictions = CounterMetricFamily(
            "forklight_evictions", "Instances ended for others, by what they were", labels=["state"]
        )
        for state, count in now.evictions.items():
            evictions.add_metric([state], count)
        yield evictions


class _Functions(Collector):
    """Families by function, from the dispatcher's records and the state of its pools."""

    def __init__(self, records: Mapping[str, Record], statuses: Sequence[FunctionStatus]) -> None:
        self._records = records
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        """Return all families."""
        yield from self._counters()
        yield self._histogram(
            "forklight_queue_wait_seconds", "From acceptance to assignment to an instance", lambda record: record.waited
        )
        yield self._histogram(
            "forklight_invocation_duration_seconds", "Run time of the handler", lambda record: record.ran
        )
        yield from self._gauges()

    def _counters(self) -> Iterator[Metric]:
        by = ["function"]
        invocations = CounterMetricFamily(
            "forklight_invocations", "Outcomes: ok or the failure's kind", labels=[*by, "outcome"]
        )
        starts = CounterMetricFamily("forklight_starts", "What events had to wait for", labels=[*by, "kind"])
        failures = CounterMetricFamily("forklight_failures", "Failures by code", labels=[*by, "code"])
        cpu = CounterMetricFamily("forklight_invocation_cpu_seconds", "CPU time of handlers", labels=by)
        for name, record in self._records.items():
            for family, counts in (
                (invocations, record.outcomes),
                (starts, record.starts),
                (failures, record.failures),
            ):
                for label, count in counts.items():
                    family.add_metric([name, label], count)
            cpu.add_metric([name], record.cpu_ns / 1e9)
        yield from (invocations, starts, failures, cpu)

    def _histogram(self, name: str, text: str, pick: Callable[[Record], Histogram]) -> Metric:
        family = HistogramMetricFamily(name, text, labels=["function"])
        for function, record in self._records.items():
            histogram, total, buckets = pick(record), 0, []
            if not any(histogram.counts):  # of a thousand functions, most have not run
                continue
            for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], histogram.counts, strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric([function], buckets, histogram.sum_ns / 1e9)
        return family

    def _gauges(self) -> Iterator[Metric]:
        instances = GaugeMetricFamily("forklight_instances", "Live instances", labels=["function", "state"])
        waiting = GaugeMetricFamily("forklight_waiting_events", "Events that wait for an instance", labels=["function"])
        calls = GaugeMetricFamily("forklight_running_calls", "Calls that run now", labels=["function"])
        slots = GaugeMetricFamily(
            "forklight_slots", "Calls that the idle, spare and busy instances can run at once", labels=["function"]
        )
        memory = GaugeMetricFamily("forklight_private_memory_bytes", "Template and instances", labels=["function"])
        retired = CounterMetricFamily(
            "forklight_retired_instances", "Replaced at a limit: memory or invocations", labels=["function", "limit"]
        )
        by_function: dict[str, list[FunctionStatus]] = defaultdict(list)
        for status in self._statuses:
            by_function[base_name(status.name)].append(status)
        for name, versions in by_function.items():
            pools = [status.instances for status in versions]
            for state in ("starting", "idle", "spare", "busy", "leaving"):
                instances.add_metric([name, state], sum(getattr(pool, state) for pool in pools))
            waiting.add_metric([name], sum(pool.waiting for pool in pools))
            calls.add_metric([name], sum(pool.calls for pool in pools))
            ready = ((one.instances.idle + one.instances.spare + one.instances.busy) * one.slots for one in versions)
            slots.add_metric([name], sum(ready))
            memory.add_metric([name], sum(status.memory_kb for status in versions) * 1024)
            for limit in sorted({limit for status in versions for limit in status.retired}):
                retired.add_metric([name, limit], sum(status.retired.get(limit, 0) for status in versions))
        yield from (instances, waiting, calls, slots, memory, retired)


class _Versions(Collector):
    """Families by version, of functions that were deployed: those that serve now, so that their number stays small."""

    def __init__(self, statuses: Sequence[FunctionStatus]) -> None:
        self._statuses = [status for status in statuses if status.release]

    def collect(self) -> Iterator[Metric]:
        """Return all families; none without a deployed function."""
        if not self._statuses:
            return
        by = ["function", "version"]
        invocations = CounterMetricFamily(
            "forklight_version_invocations",
            "Outcomes since this version serves: ok or the failure's kind",
            labels=[*by, "outcome"],
        )
        run = CounterMetricFamily("forklight_version_run_seconds", "Run time of handlers since then", labels=by)
        share = GaugeMetricFamily(
            "forklight_version_share_ratio", "The part of events that ask for no version", labels=by
        )
        instances = GaugeMetricFamily("forklight_version_instances", "Live instances", labels=[*by, "state"])
        for status in self._statuses:
            labels = [base_name(status.name), str(status.release)]
            for outcome, count in status.outcomes.items():
                invocations.add_metric([*labels, outcome], count)
            run.add_metric(labels, status.ran_s)
            share.add_metric(labels, status.share)
            for state in ("starting", "idle", "spare", "busy", "leaving"):
                instances.add_metric([*labels, state], getattr(status.instances, state))
        yield from (invocations, run, share, instances)


class _Used(Collector):
    """Families of what functions have held and used, for those that are served."""

    def __init__(self, records: Mapping[str, Record], usage: Usage) -> None:
        self._records = records
        self._usage = usage

    def collect(self) -> Iterator[Metric]:
        """Return all families."""
        yield self._waits()
        by = ["function"]
        cpu = CounterMetricFamily("forklight_cpu_seconds", "CPU time of all processes of the function", labels=by)
        held = CounterMetricFamily(
            "forklight_memory_byte_seconds", "Memory of template and instances, over time", labels=by
        )
        always_on = GaugeMetricFamily(
            "forklight_always_on_memory_byte_seconds",
            "The same if as many instances as were ever used at one time had been kept",
            labels=by,
        )
        most = GaugeMetricFamily(
            "forklight_most_used_instances", "The most instances at one time that had run an event", labels=by
        )
        for function in self._usage.functions:
            cpu.add_metric([function.name], function.cpu_s)
            held.add_metric([function.name], function.held_mib_s * _MIB)
            always_on.add_metric([function.name], function.always_on_mib_s * _MIB)
            most.add_metric([function.name], function.most_used)
        yield from (cpu, held, always_on, most)

    def _waits(self) -> Metric:
        family = HistogramMetricFamily(
            "forklight_start_wait_seconds",
            "What events waited for: until the handler began, of warm and spare until they were sent",
            labels=["function", "kind"],
        )
        for function, record in self._records.items():
            for kind, waits in record.waits.items():
                bounds = [*map(str, START_BUCKETS_S), "+Inf"]
                counts = [*waits.upto(START_BUCKETS_S), waits.count]
                family.add_metric([function, kind], list(zip(bounds, counts, strict=True)), waits.sum_ns / 1e9)
        return family


class _Triggers(Collector):
    """Families of requests and queues. A number that a store does not report has no sample."""

    def __init__(self, queues: Sequence[QueueStatus], tally: Tally) -> None:
        self._queues = queues
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """Return all families."""
        yield self._requests()
        yield from self._depths()
        yield from self._settled()

    def _requests(self) -> Metric:
        requests = CounterMetricFamily(
            "forklight_http_requests", "HTTP requests by class of status and reason", labels=["status", "reason"]
        )
        for reason, counts in self._tally.requests.items():
            for name, count in zip(CLASSES, counts, strict=True):
                if count:
                    requests.add_metric([name, reason], count)
        return requests

    def _depths(self) -> Iterator[Metric]:
        """A queue appears once, even if several functions consume it or share it for dead letters."""
        messages = GaugeMetricFamily("forklight_queue_messages", "Messages in a queue", labels=["queue", "state"])
        age = GaugeMetricFamily(
            "forklight_queue_oldest_age_seconds", "How long the oldest ready message has waited", labels=["queue"]
        )
        counts: dict[tuple[str, str], int | None] = {}
        ages: dict[str, float | None] = {}
        for status in self._queues:
            for state in ("ready", "running", "delayed"):
                counts[status.queue, state] = getattr(status, state)
            if status.dead_letter:
                counts.setdefault((status.dead_letter, "dead"), status.dead)
            ages[status.queue] = status.oldest_age_s
        for (queue, state), count in counts.items():
            if count is not None:
                messages.add_metric([queue, state], count)
        for queue, age_s in ages.items():
            if age_s is not None:
                age.add_metric([queue], age_s)
        yield from (messages, age)

    def _settled(self) -> Iterator[Metric]:
        settled = CounterMetricFamily(
            "forklight_settled", "Messages by what became of them", labels=["function", "decision"]
        )
        dead = CounterMetricFamily("forklight_dead_letters", "Messages that were given up", labels=["function"])
        for function, counts in self._tally.settled_by.items():
            for decision, count in counts.items():
                settled.add_metric([function, decision], count)
            if "dead" in counts:
                dead.add_metric([function], counts["dead"])
        yield from (settled, dead)


class _Timers(Collector):
    """Families of timers. What never happened has no sample; what did is remembered beyond a restart."""

    def __init__(self, timers: Sequence[TimerStatistics], tally: Tally) -> None:
        self._timers = timers
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """Return all families."""
        yield from self._fires()
        yield from self._results()
        yield from self._schedules()

    def _fires(self) -> Iterator[Metric]:
        fires = CounterMetricFamily(
            "forklight_timer_fires", "Runs: ok or the failure's kind", labels=["function", "timer", "outcome"]
        )
        late = GaugeMetricFamily(
            "forklight_timer_lateness_seconds",
            "Of the latest run, from its scheduled time",
            labels=["function", "timer"],
        )
        for labels, count in self._tally.fires.items():
            fires.add_metric([*labels], count)
        for timer, late_s in self._tally.lateness_s.items():
            late.add_metric([*timer], late_s)
        yield from (fires, late)

    def _results(self) -> Iterator[Metric]:
        labels = ["function", "timer"]
        succeeded = GaugeMetricFamily(
            "forklight_timer_last_success_timestamp_seconds", "When the latest successful run ended", labels=labels
        )
        failed = GaugeMetricFamily(
            "forklight_timer_last_failure_timestamp_seconds", "When the latest failed run ended", labels=labels
        )
        failures = GaugeMetricFamily(
            "forklight_timer_consecutive_failures", "Runs that failed since the last success", labels=labels
        )
        for one in self._timers:
            timer, results = [one.function, one.name], one.results
            failures.add_metric(timer, results.failures)
            for family, at in ((succeeded, results.succeeded), (failed, results.failed)):
                if at is not None:
                    family.add_metric(timer, at.timestamp())
        yield from (succeeded, failed, failures)

    def _schedules(self) -> Iterator[Metric]:
        labels = ["function", "timer"]
        next_run = GaugeMetricFamily(
            "forklight_timer_next_run_timestamp_seconds", "The next scheduled time", labels=labels
        )
        skipped = CounterMetricFamily(
            "forklight_timer_skipped", "Scheduled times without a run of their own", labels=labels
        )
        for one in self._timers:
            skipped.add_metric([one.function, one.name], one.skipped)
            if one.next is not None:
                next_run.add_metric([one.function, one.name], one.next.timestamp())
        yield from (next_run, skipped)
