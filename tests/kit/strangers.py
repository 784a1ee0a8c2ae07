"""Whatever a stranger can send, made by Hypothesis, through each trigger's codec. Run in a process that can be killed:
what walks a range of 2^64 inside C hears no alarm of Python's.
"""

import contextlib
import struct
import sys
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bus.event import Event
from bus.message import inbox
from bus.rabbitmq import fields
from bus.rabbitmq.letters import (
    Origin,
    dead_copy,
    delivery_of,
    digest,
    letter,
    message_of,
    retry_copy,
    trimmed,
    unrun_copy,
)
from bus.rabbitmq.letters import with_more_properties as whole
from bus.retry import Dead, Retry
from sandbox import wire
from triggers.http import codec as http_codec
from triggers.http.errors import RefusedError
from triggers.http.head import parse_head
from triggers.http.routes import Match, RouteTable
from triggers.http.settings import Route
from triggers.queue import celery
from triggers.queue import codec as queue_codec
from triggers.queue.errors import UnreadableError
from triggers.queue.settings import QueueTrigger

fields.install()

FRAME_BYTES = 131072
TRIGGER = QueueTrigger(function="f", queue="orders", dead_letter="dead", slots=4)
ROUTES = RouteTable(
    [Route(function="f", path=f"/{kind}/{{a:{kind}}}") for kind in ("int", "float", "uuid", "str", "path")]
)

INTERESTING = ["CC", "BCC", "ce-id", "ce-time", "ce-type", "cloudEvents:source", "forklight-attempt", "forklight-to"]
INTERESTING += ["forklight-stored-at", "forklight-hops", "forklight-properties", "forklight-cc", "forklight-user-id"]
INTERESTING += ["forklight-first-error", "forklight-anonymous", "traceparent", "x-death", "x-delivery-count"]
INTERESTING += ["eta", "expires", "countdown", "task", "id", "lang", "compression"]


def sized(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def short(content: bytes) -> bytes:
    return bytes((len(content[:255]),)) + content[:255]


def fixed(kind: bytes, layout: str, extremes: list[Any]) -> st.SearchStrategy[bytes]:
    """Any bytes are a value of the type; those with an extreme one come up more often."""
    special = st.sampled_from([kind + struct.pack(layout, value) for value in extremes])
    size = struct.calcsize(layout)
    return special | st.binary(min_size=size, max_size=size).map(lambda content: kind + content)


INTEGERS = {b"b": ">b", b"s": ">h", b"I": ">i", b"l": ">q", b"L": ">q"}
NATURALS = {b"B": ">B", b"u": ">H", b"i": ">I", b"T": ">Q"}
TIMES = [0, 1_767_322_445, 1_767_322_445_000, 253_402_300_799, 253_402_300_800, 2**63, 2**64 - 1]
FLOATS = [0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e300, 1_767_322_445_000.0]
TEXTS = ["nan", "inf", "-1e999", "9" * 5000, "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "\0", "\u2028", ""]
NAMES = st.sampled_from(INTERESTING).map(str.encode) | st.binary(max_size=10) | st.text(max_size=5).map(str.encode)
TEXT = st.binary(max_size=40) | st.text(max_size=20).map(str.encode) | st.sampled_from(TEXTS).map(str.encode)
PLAIN = st.one_of(
    *(fixed(kind, layout, [-(2 ** (8 * struct.calcsize(layout) - 1)), -1, 0]) for kind, layout in INTEGERS.items()),
    *(fixed(kind, layout, [0, 2 ** (8 * struct.calcsize(layout)) - 1]) for kind, layout in NATURALS.items()),
    st.sampled_from(TIMES).map(lambda seconds: b"T" + struct.pack(">Q", seconds)),
    fixed(b"d", ">d", FLOATS),
    st.binary(min_size=4, max_size=4).map(lambda content: b"f" + content),
    st.binary(min_size=5, max_size=5).map(lambda content: b"D" + content),
    st.binary(min_size=1, max_size=1).map(lambda content: b"t" + content),
    st.sampled_from([b"V", b"\0"]),
    TEXT.map(lambda content: b"S" + sized(content)),
    TEXT.map(lambda content: b"x" + sized(content)),
    st.binary(max_size=9),
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=5).map(lambda values: b"A" + sized(b"".join(values)))
        | st.lists(st.tuples(NAMES, inner), max_size=4).map(lambda pairs: b"F" + table(pairs))
        | st.tuples(inner, st.integers(1, 100)).map(lambda deep: nested(*deep))
    ),
    max_leaves=12,
)


def table(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return sized(b"".join(short(name) + value for name, value in pairs))


def nested(value: bytes, levels: int) -> bytes:
    for _ in range(levels):
        value = b"A" + sized(value)
    return value


HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(table)
PROPERTY = {"headers": HEADERS, "timestamp": st.sampled_from(TIMES).map(lambda seconds: struct.pack(">Q", seconds))}
PROPERTY |= {name: st.binary(min_size=1, max_size=1) for name in ("delivery_mode", "priority")}
SHORT = st.binary(max_size=255).map(short) | st.sampled_from(TEXTS).map(lambda text: short(text.encode()))
CONTENT_TYPES = st.sampled_from([b"application/cloudevents+json", b"application/json", b"\xff"]).map(short)
PROPERTY |= {"content_type": CONTENT_TYPES | SHORT}
PROPERTY |= {"content_encoding": st.sampled_from([b"gzip", b"deflate", b"gzip:utf-8"]).map(short) | SHORT}
BODIES = st.binary(max_size=200) | st.sampled_from([b'{"id":1e999,"data":[[]]}', b"1" * 100_000, b"[" * 100_000])


@st.composite
def properties(draw: st.DrawFn) -> Basic.Properties:
    """Read from a frame, as they come from a broker."""
    flags, content = 0, b""
    for name in Basic.Properties.__slots__:
        if draw(st.booleans()):
            flags |= Basic.Properties.flags[name]
            content += draw(PROPERTY.get(name, SHORT))
    header = ContentHeader()
    header.unmarshal(struct.pack(">HHQH", 60, 0, 0, flags) + content)
    return header.properties


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(properties(), BODIES, st.booleans(), st.sampled_from(["orders", inbox("f")]), st.binary(max_size=255))
def over_amqp(received: Basic.Properties, body: bytes, is_retry: bool, queue: str, key: bytes) -> None:
    """It becomes an event or a dead letter, and its retry, its dead letter and its replay can be written."""
    origin = Origin("ex", key.decode(errors="backslashreplace"), redelivered=False, is_retry=is_retry)
    fresh = delivery_of(queue, received, body, origin, None)
    delivery = queue_codec.identified(fresh)
    back = delivery_of(queue, unrun_copy(received, fresh).properties, body, replace(origin, is_retry=True), None)
    assert queue_codec.identified(back).message.id == delivery.message.id, "put aside unrun, it comes as it was"
    with contextlib.suppress(UnreadableError):
        celery.times(delivery, 1_800_000_000.0)
    digest(received, body)
    try:
        told(queue_codec.to_event(delivery, TRIGGER))
    except UnreadableError:
        told(queue_codec.bare_event(delivery, TRIGGER))
    copies = [
        retry_copy(received, delivery, Retry(1.0, "e\ud800"), "retry"),
        dead_copy(received, delivery, Dead("Attempts", "e\ud800"), "f"),
    ]
    for copy in copies:
        data = ContentHeader(properties=trimmed(copy, FRAME_BYTES)[0].properties).marshal()
        assert len(data) <= FRAME_BYTES
        header = ContentHeader()
        header.unmarshal(data)
        again = header.properties
        assert not {"CC", "BCC"} & (again.headers or {}).keys()
        later = delivery_of(queue, again, body, origin, None)
        assert later.message.id == delivery.message.id
        assert later.message.correlation_id == delivery.message.correlation_id
        digest(again, body)
        letter(whole(message_of(again, body), again)).properties.marshal()


WORDS = st.sampled_from(["/str/", "%ff", "%00", "/int/" + "9" * 30, "?a=1&a", "&" * 50, "=", ";", "/..", "caf\xe9"])
TARGETS = st.lists(WORDS | st.text(st.characters(codec="ascii"), max_size=9), max_size=9).map("".join)
FIELDS = ["Cookie", "ce-id", "ce-time", "ce-specversion", "ce-source", "ce-type", "traceparent", "Content-Type"]
FIELDS += ["X-Forwarded-For", "Content-Encoding", "Host", "Accept", "Range"]
FIELD_VALUES = st.sampled_from(["1.0", *TEXTS, "a=b;" * 2000, "%ff" * 500, "00-" + "0" * 200]) | st.text(max_size=30)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(TARGETS, st.lists(st.tuples(st.sampled_from(FIELDS), FIELD_VALUES), max_size=8), BODIES)
def over_http(target: str, fields: list[tuple[str, str]], body: bytes) -> None:
    """It becomes an event, or is refused."""
    try:
        head = parse_head("POST", f"/{target}", (1, 1), fields)
        match = ROUTES.find("POST", head.path)
        if isinstance(match, Match):
            told(http_codec.to_event(head, match, body, remote="", invocation_id="i", time=""))
    except RefusedError:
        pass


def told(event: Event) -> None:
    """A frame for a guest can be made of it."""
    assert wire.invoke(1, 1, event.attempt, "warm", event)


if __name__ == "__main__":
    {"amqp": over_amqp, "http": over_http}[sys.argv[1]]()
