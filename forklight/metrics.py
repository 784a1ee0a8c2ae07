"""Prometheus metrics: every name in this one file. Nothing is counted here; a scrape reads what the dispatcher counted.

Names follow Prometheus's conventions (base units, `_total`); labels are few, so that series stay few.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from dispatcher.dispatcher import Dispatcher
from dispatcher.records import BUCKETS_S, Histogram, Record
from forklight.status import FunctionStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(dispatcher: Dispatcher, statuses: tuple[FunctionStatus, ...]) -> bytes:
    """The scrape's answer."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(dispatcher, statuses))
    return generate_latest(registry)


class _Collector:
    """What prometheus-client asks at a scrape."""

    def __init__(self, dispatcher: Dispatcher, statuses: tuple[FunctionStatus, ...]) -> None:
        self._records = dispatcher.records
        self._statuses = statuses

    def describe(self) -> list[Metric]:
        """Nothing beforehand: each scrape has a registry of its own."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families."""
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
            for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], histogram.counts, strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric([function], buckets, histogram.sum_ns / 1e9)
        return family

    def _gauges(self) -> Iterator[Metric]:
        instances = GaugeMetricFamily("forklight_instances", "Live instances", labels=["function", "state"])
        waiting = GaugeMetricFamily("forklight_waiting_events", "Events that wait for an instance", labels=["function"])
        memory = GaugeMetricFamily("forklight_private_memory_bytes", "Template and instances", labels=["function"])
        for status in self._statuses:
            pool = status.instances
            for state in ("starting", "idle", "busy", "leaving"):
                instances.add_metric([status.name, state], getattr(pool, state))
            waiting.add_metric([status.name], pool.waiting)
            memory.add_metric([status.name], status.memory_kb * 1024)
        yield from (instances, waiting, memory)
