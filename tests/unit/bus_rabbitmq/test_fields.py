"""Whatever a header may hold survives being read and written again."""

import datetime
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from bus.rabbitmq.fields import DEEPEST, UNDECODABLE, Instant, RawText, decode_table, encode_table, is_deeper

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
    """The value with the types in it, which `==` alone does not tell apart."""
    if isinstance(value, dict):
        return {name: typed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return type(value), value


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_headers_survive(headers: dict[str, Any]) -> None:
    data = encode_table(headers)
    assert decode_table(data + b"more") == (len(data), headers)
    assert typed(decode_table(data)[1]) == typed(headers)


@given(st.binary(max_size=60))
def test_no_bytes_make_decoding_fail(content: bytes) -> None:
    data = struct.pack(">I", len(content)) + content
    size, headers = decode_table(data)
    assert size == len(data)
    assert decode_table(encode_table(headers))[1] == headers


def test_what_cannot_be_decoded_is_kept_as_it_is() -> None:
    content = b"\x01\xffV"  # a name that is not UTF-8
    assert decode_table(struct.pack(">I", 3) + content) == (7, {UNDECODABLE: content})


@pytest.mark.parametrize("levels", [DEEPEST + 1, 5000])
def test_what_is_nested_too_deep_is_not_decoded(levels: int) -> None:
    data = struct.pack(">I", 0)
    for _ in range(levels):
        content = b"\x01xF" + data
        data = struct.pack(">I", len(content)) + content
    assert decode_table(data)[1].keys() == {UNDECODABLE}


def test_depth() -> None:
    assert not is_deeper({"a": 1}, 0)
    assert not is_deeper({"a": [1]}, 1)
    assert is_deeper({"a": [1]}, 0)
    assert is_deeper({"a": [{"b": {}}]}, 2)


def test_properties_are_read_with_these_codecs() -> None:
    properties = Basic.Properties(headers={"price": 0.1, "raw": b"\xff"})
    properties.timestamp = Instant(2**63)  # type: ignore[assignment]
    read = Basic.Properties()
    read.unmarshal(struct.unpack(">H", properties.marshal()[:2])[0], properties.marshal()[2:])
    assert read.headers == {"price": 0.1, "raw": b"\xff"}
    assert read.timestamp == Instant(2**63)


@pytest.mark.parametrize("value", [object(), 2**63, {"n" * 256: 1}, Decimal("NaN")])
def test_what_amqp_has_no_type_for_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode_table({"header": value})
