"""What a client or a function chooses may be kept, but not without bound: 10,000 distinct values of each kind."""

import ast
import encodings
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus import Event, Failed, Ok
from bus.bus import Bus
from bus.outcome import ExceptionName
from dispatcher.actions import Statistics
from dispatcher.reasons import MOST_REASONS, Reasons
from dispatcher.records import MOST_CODES, OTHER, Record
from dispatcher.settings import PoolSettings
from forklight.observe import metrics
from forklight.observe.formats import json_lines
from forklight.observe.journal import Journal
from forklight.observe.observer import Observer
from forklight.observe.rings import RING_BYTES
from forklight.observe.tally import Tally
from sandbox.causes import Cause
from sandbox.guest._forklight.charsets import decode_text
from triggers.http import answers, grammar, head
from triggers.http.codec import to_answer
from triggers.http.exchange import Exchange
from triggers.http.files import types
from triggers.http.policy.proxies import Proxies
from triggers.http.settings import Network

MANY = 10_000
ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("bus", "dispatcher", "forklight", "sandbox", "triggers")


def values(length: int) -> Iterator[str]:
    """As long as each may be."""
    return (f"{number:0{length}}" for number in range(MANY))


def test_codes_of_failures() -> None:
    record = Record()
    for name in values(200):
        record.add(Failed(kind="error", code=ExceptionName(name), message=name, start="warm"))
    record.add(Failed(kind="throttled", code="QueueFull", message=""))
    assert len(record.failures) <= MOST_CODES + 2
    assert record.failures[OTHER] == MANY - MOST_CODES
    assert record.failures["QueueFull"] == 1
    assert sum(record.failures.values()) == record.outcomes["error"] + record.outcomes["throttled"]
    assert len(metrics.text(metrics.gather({"f": record}, (), (), Tally()))) < 64 * 1024


def test_content_types_of_results() -> None:
    for name in values(1024):
        assert to_answer(Ok(content_type=f"text/{name}"), "i").status == 200
    assert answers._only_content_type.cache_info().currsize <= 256


def _hosts() -> None:
    for name in values(255):
        grammar.is_host(name)
    assert not grammar.is_host("x" * 300)
    assert grammar._is_host.cache_info().currsize <= 256


def _proxies() -> None:
    proxies = Proxies([Network("10.0.0.0/8")])
    request = head.parse_head("GET", "/", (1, 1), [("Host", "h")])
    for name in values(200):
        request.headers["x-forwarded-for"] = f"{name}, 10.{int(name) % 256}.{int(name) // 256}.1, {name[-30:]}"
        proxies.origin("10.0.0.1", request)
    assert proxies.trusts.cache_info().currsize <= 1024


def _names_of_files() -> None:
    for name in values(250):
        types.content_type(name + ".txt")


def _charsets() -> None:
    for name in values(100):
        assert decode_text(b"x", name) == "x"
        assert decode_text(b"x", "utf" + "-" * (int(name) % 30) + "8") == "x"
    assert len(encodings._cache) < 500


@pytest.mark.parametrize("use", [_hosts, _proxies, _names_of_files, _charsets])
def test_names_that_are_looked_up(use: Callable[[], None]) -> None:
    use()
    tracemalloc.start()
    try:
        use()
        grown_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown_bytes < 1024 * 1024


def test_requests_in_record_and_metrics() -> None:
    journal = Journal(json_lines, -1)
    bus, observer = Bus(), Observer(journal, {})
    observer.subscribe_to(bus)
    for name in values(8000):
        bus.report(Exchange(name[-40:], 0, id=name, method=name, path=f"/{name}").ended(404, "no_route"))
        event = Event(source="/http", type="t", id=name, function="f", traceparent=None)
        ran = Exchange("::1", 0, id=name, method=name, path=f"/{name}", event=event, outcome=Ok())
        bus.report(ran.ended(200, "function"))
    assert len(observer.tally.requests) == 2
    assert journal._rings.size_bytes <= 2 * RING_BYTES
    assert sys.getsizeof(metrics.text(observer.metrics((), ()))) < 16 * 1024


def test_ids_of_events_that_waited() -> None:
    reasons = Reasons()
    found = Statistics(0, 0, 0, 0, 0, 0)
    for name in values(8000):
        reasons.note(name, 1, found, PoolSettings(), 0)
        reasons.add_cause(name, 1, Cause("ended", "x"))
    for name in values(255):
        reasons.note(name, 1, found, PoolSettings(), 0)
        reasons.add_cause(name, 1, Cause("ended", "x"))
    assert len(reasons._noted) <= MOST_REASONS
    assert len(reasons._causes) <= MOST_REASONS
    assert all(len(event_id) <= 255 for event_id, _ in reasons._noted)


def test_no_cache_is_without_bound() -> None:
    """`functools.cache` and `lru_cache(maxsize=None)` keep what they were ever asked; without arguments that is one."""
    found = []
    for path in (path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.FunctionDef)
                and node.args.args
                and "cache" in map(ast.unparse, node.decorator_list)
            ):
                found.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("lru_cache"):
                sizes = [ast.literal_eval(one.value) for one in node.keywords if one.arg == "maxsize"]
                found += [] if sizes and isinstance(sizes[0], int) else [f"{path}:{node.lineno}"]
    assert found == []
