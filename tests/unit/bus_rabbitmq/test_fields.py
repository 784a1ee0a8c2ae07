"""Any header value survives being read and written again."""

import datetime
import struct
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic, Queue

from bus.rabbitmq.fields import (
    DEEPEST,
    UNDECODABLE,
    Instant,
    RawName,
    RawText,
    decode_table,
    decode_text,
    encode_table,
    encode_text,
    install,
)

install()

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda name: len(name.encode()) <= 255)
TIMES = st.integers(0, 253_402_300_799).map(lambda s: datetime.datetime.fromtimestamp(s, tz=datetime.UTC))
NOT_TEXT = st.binary(max_size=20).map(lambda data: RawText(data + b"\xff"))
DECIMALS = st.builds(
    lambda number, places: Decimal(number).scaleb(-places), st.integers(-(2**31), 2**31 - 1), st.integers(0, 20)
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | NOT_TEXT
    | st.binary()
    | TIMES
    | st.integers(253_402_300_800, 2**64 - 1).map(Instant)
    | st.builds(
        lambda number, places: Decimal(number).scaleb(-places), st.integers(-(2**31), 2**31 - 1), st.integers(0, 20)
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


def typed(value: Any) -> Any:
    """Return the value together with its types, which `==` does not compare."""
    if isinstance(value, dict):
        return {name: typed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return type(value), value


@pytest.mark.invariant("I26")
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_headers_survive(headers: dict[str, Any]) -> None:
    data = encode_table(headers)
    assert decode_table(data + b"more") == (len(data), headers)
    assert typed(decode_table(data)[1]) == typed(headers)


@pytest.mark.invariant("I22")
@given(st.binary(max_size=60))
def test_no_bytes_make_decoding_fail(content: bytes) -> None:
    data = struct.pack(">I", len(content)) + content
    size, headers = decode_table(data)
    assert size == len(data)
    assert decode_table(encode_table(headers))[1] == headers


def test_undecodable_headers_are_kept_as_they_are() -> None:
    content = b"\x01\xffV"  # a name that is not UTF-8
    assert decode_table(struct.pack(">I", 3) + content) == (7, {UNDECODABLE: content})


@pytest.mark.parametrize("levels", [DEEPEST + 1, 5000])
def test_headers_nested_too_deep_are_not_decoded(levels: int) -> None:
    data = struct.pack(">I", 0)
    for _ in range(levels):
        content = b"\x01xF" + data
        data = struct.pack(">I", len(content)) + content
    assert decode_table(data)[1].keys() == {UNDECODABLE}


@pytest.mark.parametrize(
    "value", [b"V", b"t\1", b"S\0\0\0\0", b"A\0\0\0\0", b"F\0\0\0\0", b"D\xff\x7f\xff\xff\xff", b"T" + b"\xff" * 8]
)
def test_a_list_takes_time_in_proportion_to_its_length(value: bytes) -> None:
    content = value * (2**20 // len(value))
    inner = b"\4listA" + struct.pack(">I", len(content)) + content
    began_s = time.monotonic()
    _, headers = decode_table(struct.pack(">I", len(inner)) + inner)
    assert time.monotonic() - began_s < 10, "a copy of the rest for each element takes minutes"
    assert len(headers["list"]) == len(content) // len(value)


@pytest.mark.invariant("I26")
@given(st.binary(max_size=255))
def test_names_survive(raw: bytes) -> None:
    name = decode_text(bytes((len(raw),)) + raw)[1]
    assert len(name.encode()) <= 255
    assert encode_text(name) == bytes((len(raw),)) + raw
    assert decode_text(encode_text(str(name)))[1] == name


def test_long_names_that_differ_are_shown_differently() -> None:
    assert RawName(b"\xff" * 200) != RawName(b"\xff" * 199 + b"\xfe")


@pytest.mark.parametrize("name", ["größe", "orders(eu)", "a|b", "line\n", "reply.g1h=+/==", "ü" * 127, "\0", ""])
def test_any_utf8_names_a_queue(name: str) -> None:
    for frame in (Queue.Declare(queue=name), Basic.Consume(queue=name), Basic.Publish(routing_key=name)):
        assert name.encode() in frame.marshal()


def test_properties_are_read_with_these_codecs() -> None:
    properties = Basic.Properties(headers={"price": 0.1, "raw": b"\xff"})
    properties.timestamp = Instant(2**63)  # type: ignore[assignment]
    read = Basic.Properties()
    read.unmarshal(struct.unpack(">H", properties.marshal()[:2])[0], properties.marshal()[2:])
    assert read.headers == {"price": 0.1, "raw": b"\xff"}
    assert read.timestamp == Instant(2**63)


@pytest.mark.parametrize("value", [object(), 2**63, {"n" * 256: 1}, Decimal("NaN")])
def test_values_without_an_amqp_type_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode_table({"header": value})
