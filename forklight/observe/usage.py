"""What functions have held and used, beside what they would hold if they were always on. Pure arithmetic.

Always on: a server of the same functions that starts with as many instances as a function has ever used at one time
and keeps them, each with the memory that its instances have had on average, and the template that they share, for as
long as the function has been served. The zygotes of the runtimes count the same on both sides.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from dispatcher.histogram import merged
from dispatcher.records import Record
from forklight.observe.status import FunctionUsage, StartUsage, Usage
from sandbox.usage import Crowd, Meter, Meters

_KB_NS_PER_MIB_S = 1024 * 1_000_000_000


class Living(Struct, frozen=True, kw_only=True):
    """What must be read from the processes that live now."""

    cpu_ns: Mapping[str, int]
    """by function"""
    zygotes_cpu_ns: int = 0
    server_cpu_ns: int = 0
    server_kb: int = 0


def usage(
    meters: Meters, records: Mapping[str, Record], retired: Mapping[str, Record], now: Living, now_ns: int
) -> Usage:
    """Return the usage at `now_ns`. `records`: of the functions that are served; `retired`: of removed ones."""
    all_records = {name: _runs_of(name, records, retired) for name in meters.functions}
    each = {
        name: _of_function(name, meter, all_records[name], now.cpu_ns.get(name, 0), now_ns)
        for name, meter in sorted(meters.functions.items())
    }
    gone = [name for name in each if name not in records]
    removed = _together("removed", [each[name] for name in gone], [all_records[name] for name in gone])
    zygotes_mib_s = meters.zygotes.held_kb.integral(now_ns) / _KB_NS_PER_MIB_S
    zygotes_cpu_s = (meters.ended_zygotes_cpu_ns + now.zygotes_cpu_ns) / 1e9
    runtimes = FunctionUsage(
        name="runtimes", held_mib_s=zygotes_mib_s, always_on_mib_s=zygotes_mib_s, cpu_s=zygotes_cpu_s
    )
    return Usage(
        functions=tuple(each[name] for name in each if name in records),
        removed=removed if gone else None,
        runtimes=runtimes,
        total=_together("total", [*each.values(), runtimes], all_records.values()),
        used=sum(one.events > 0 for one in each.values()),
        server_cpu_s=now.server_cpu_ns / 1e9,
        server_mib=now.server_kb / 1024,
    )


def always_on_kb_ns(meter: Meter, now_ns: int) -> float:
    """Return the memory of the function, added up over time, if it had always been on."""
    template_kb = 0.0 if meter.becomes else _mean_kb(meter.templates, now_ns)
    kept_kb = meter.most_used * _mean_kb(meter.instances, now_ns) + template_kb
    return kept_kb * meter.served.integral(now_ns)


def starts(records: Iterable[Record]) -> dict[str, StartUsage]:
    """Return the events of several records together, by what they waited for."""
    waits = [record.waits for record in records]
    kinds = sorted({kind for each in waits for kind in each})
    found = {kind: merged((each[kind] for each in waits if kind in each), fine=True) for kind in kinds}
    events = sum(one.count for one in found.values())
    return {
        kind: StartUsage(one.count, one.count / events, one.quantile_ns(0.5) / 1e6, one.quantile_ns(0.99) / 1e6)
        for kind, one in found.items()
        if one.count
    }


def _mean_kb(crowd: Crowd, now_ns: int) -> float:
    """The average memory of one process."""
    lived_ns = crowd.count.integral(now_ns)
    return crowd.held_kb.integral(now_ns) / lived_ns if lived_ns else 0.0


def _runs_of(name: str, records: Mapping[str, Record], retired: Mapping[str, Record]) -> Record:
    """All runs under this name: also those before it was removed, if it was added again."""
    found = [runs[name] for runs in (records, retired) if name in runs]
    if len(found) == 1:
        return found[0]
    whole = Record()
    for record in found:
        whole.absorb(record)
    return whole


def _of_function(name: str, meter: Meter, record: Record, living_cpu_ns: int, now_ns: int) -> FunctionUsage:
    held_kb_ns = meter.templates.held_kb.integral(now_ns) + meter.instances.held_kb.integral(now_ns)
    by_kind = starts([record])
    return FunctionUsage(
        name=name,
        served_s=meter.served.integral(now_ns) / 1e9,
        most_used=meter.most_used,
        held_mib_s=held_kb_ns / _KB_NS_PER_MIB_S,
        always_on_mib_s=always_on_kb_ns(meter, now_ns) / _KB_NS_PER_MIB_S,
        cpu_s=max(meter.cpu_ns(living_cpu_ns), record.cpu_ns) / 1e9,
        calls_cpu_s=record.cpu_ns / 1e9,
        events=sum(one.events for one in by_kind.values()),
        starts=by_kind,
    )


def _together(name: str, parts: Iterable[FunctionUsage], records: Iterable[Record]) -> FunctionUsage:
    found = list(parts)
    return FunctionUsage(
        name=name,
        served_s=max((one.served_s for one in found), default=0.0),
        most_used=sum(one.most_used for one in found),
        held_mib_s=sum(one.held_mib_s for one in found),
        always_on_mib_s=sum(one.always_on_mib_s for one in found),
        cpu_s=sum(one.cpu_s for one in found),
        calls_cpu_s=sum(one.calls_cpu_s for one in found),
        events=sum(one.events for one in found),
        starts=starts(records),
    )
