"""Values become bodies: JSON with additional types, and errors that name the type and the path."""

import enum
import json
import math
from collections import deque
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest._forklight.decoding import decode_body
from sandbox.guest._forklight.encoding import Unencodable, encode_body


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Item:
    kinds: ClassVar[int] = 1
    name: str
    when: datetime
    parts: "list[Item]" = field(default_factory=list)


class Model:
    def model_dump(self) -> dict[str, Any]:
        return {"id": UUID(int=1), "colour": Colour.RED}


class Scalar:
    """A number as in numpy: neither int nor float, with `tolist`."""

    __module__ = "numpy"

    def __init__(self, value: int) -> None:
        self._value = value

    def tolist(self) -> int:
        return self._value


KEYS = {"00000000-0000-0000-0000-000000000001": 1, "2026-01-02": 2, "a": 3, "7": 4}
NOON = datetime(2026, 11, 23, 12, 30, tzinfo=timezone.utc)  # noqa: UP017 - as guests of Python 3.10 write it
ENCODED: list[tuple[Any, Any]] = [
    (NOON, "2026-11-23T12:30:00Z"),
    (NOON.astimezone(timezone(timedelta(hours=2))), "2026-11-23T14:30:00+02:00"),
    (NOON.replace(tzinfo=None), "2026-11-23T12:30:00"),
    (date(2026, 11, 23), "2026-11-23"),
    (time(1, 2, 3), "01:02:03"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("0.10"), "0.10"),
    (Colour.RED, "red"),
    (Size.BIG, 3),
    (b"\xff\x00", "/wA="),
    (bytearray(b"a"), "YQ=="),
    (memoryview(b"a"), "YQ=="),
    (timedelta(hours=1, milliseconds=500), "PT3600.5S"),
    (-timedelta(seconds=90), "-PT90S"),
    (Path("a/b"), "a/b"),
    (deque([1]), [1]),
    (range(2), [0, 1]),
    ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.values(), [1]),
    (MappingProxyType({"a": {1}}), {"a": [1]}),
    (Scalar(7), 7),
    ({UUID(int=1): 1, date(2026, 1, 2): 2, Path("a"): 3, Scalar(7): 4}, KEYS),
    ({"x"}, ["x"]),
    (frozenset({1}), [1]),
    (Point(1, 2), [1, 2]),
    (Item("a", NOON, [Item("b", NOON)]), {"name": "a", "when": "2026-11-23T12:30:00Z"}),
    (Model(), {"id": "00000000-0000-0000-0000-000000000001", "colour": "red"}),
    ({1: "a", None: "b", False: "c", 1.5: "d"}, {"1": "a", "null": "b", "false": "c", "1.5": "d"}),
    ({Colour.RED: {Size.BIG: Colour.RED}}, {"red": {"3": "red"}}),
    ("lone \ud800", "lone \ud800"),
]

CIRCLE: list[Any] = [1]
CIRCLE.append({"again": CIRCLE})
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]

UNENCODABLE = [
    ({"items": [0, 1, 2, {"when": object()}]}, "$.items[3].when: an object of type object cannot be encoded"),
    ({"a b": Fraction(1, 2)}, "$['a b']: an object of type Fraction cannot be encoded"),
    ({"x": math.nan}, "$.x: JSON has no number nan"),
    ([Decimal("NaN")], "$[0]: an object of type Decimal cannot be encoded"),
    ({"x": {(1, 2): 1}}, "$.x: a key of type tuple cannot be encoded, use str"),
    ({b"x": 1}, "$: a key of type bytes cannot be encoded, use str"),
    (CIRCLE, "$[1].again: the list contains itself"),
    (DEEP, "$: nested too deeply to be encoded"),
    ([10**5000], "$: Exceeds the limit (4300 digits) for integer string conversion"),
    ({"gen": (n for n in "")}, "$.gen: an object of type generator cannot be encoded"),
    (Model, "$: an object of type type cannot be encoded"),
    (map(str, []), "$: an object of type map cannot be encoded: make it a dict, list, text or number"),
]


@pytest.mark.parametrize(("value", "expected"), ENCODED)
def test_what_json_is_made_of(value: Any, expected: Any) -> None:
    content_type, body = encode_body([value])
    assert content_type == "application/json"
    found = json.loads(body)[0]
    if isinstance(value, Item):
        assert found.pop("parts") == [{"name": "b", "when": "2026-11-23T12:30:00Z", "parts": []}]
    assert found == expected


@pytest.mark.parametrize(("value", "message"), UNENCODABLE)
def test_errors_name_the_type_and_the_place(value: Any, message: str) -> None:
    with pytest.raises(Unencodable) as caught:
        encode_body(value)
    assert str(caught.value).startswith(message)


def test_text_and_octets() -> None:
    assert encode_body("grün") == ("text/plain; charset=utf-8", "grün".encode())
    assert encode_body(b"\xff") == ("application/octet-stream", b"\xff")
    assert encode_body(bytearray(b"a")) == ("application/octet-stream", b"a")
    assert encode_body(memoryview(b"abcd")[::2]) == ("application/octet-stream", b"ac")
    assert encode_body("") == ("text/plain; charset=utf-8", b"")
    with pytest.raises(Unencodable, match="lone surrogate at 2"):
        encode_body("ab\udc80")


def test_json_is_compact_and_readable() -> None:
    assert encode_body({"a": ["ü", None]}) == ("application/json", '{"a":["ü",null]}'.encode())


def test_an_error_of_the_authors_own_code_is_not_disguised() -> None:
    class Broken:
        def model_dump(self) -> None:
            raise error

    for error in (TypeError("mine"), ValueError("mine"), OSError("mine")):
        with pytest.raises(type(error)) as caught:
            encode_body(Broken())
        assert caught.value is error


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.invariant("I15")
@given(VALUES)
def test_every_json_value_comes_back(value: Any) -> None:
    content_type, body = encode_body({"value": value})
    assert decode_body(body, content_type, None) == {"value": value}


@pytest.mark.invariant("I15")
@given(VALUES)
def test_the_slow_walk_changes_nothing_else(value: Any) -> None:
    _, body = encode_body([value, {Colour.RED: 1}])  # a key that only the slow walk can encode
    assert json.loads(body) == [value, {"red": 1}]
