"""Which events have the same key."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode

from bus import Event
from bus.event import HttpSection, QueueSection
from dispatcher.keys import LONGEST_KEY, MOST_DATA_BYTES, Reuse, key_of

JSON = "application/json"


def key(reuse: str, event: Event) -> str | None:
    found = key_of(Reuse.parse(reuse))
    assert found is not None
    return found(event)


def request(**section: Any) -> Event:
    return Event(source="s", type="t", http=HttpSection(method="GET", path="/", route="/", **section))


def message(body: bytes, **attributes: Any) -> Event:
    return Event(source="s", type="t", body=body, **{"datacontenttype": JSON, **attributes})


@pytest.mark.parametrize(
    ("reuse", "event", "expected"),
    [
        ("key:header.X-Session", request(headers={"x-session": "a"}), "a"),
        ("key:header.x-session", request(headers={"x-session": ""}), None),
        ("key:header.tenant", Event(source="s", type="t", queue=QueueSection(name="q", headers={"tenant": 7})), "7"),
        ("key:path.id", request(params={"id": 12}), "12"),
        ("key:query.user", request(query={"user": "ä"}), "ä"),
        ("key:cookie.sid", request(cookies={"sid": "c"}), "c"),
        ("key:cookie.sid", message(b""), None),
        ("key:data.user.id", message(b'{"a": [1, {"user": 2}], "user": {"x": {}, "id": "u"}}'), "u"),
        ("key:data.id", message(b'{"id": 1.50}', datacontenttype="application/x+json; charset=utf-8"), "1.5"),
        ("key:data.id", message(b'{"id": 7.0}'), "7"),
        ("key:data.id", message(b'{"id": -0e0}'), "0"),
        ("key:data.id", message(b'{"id": true}', datacontenttype=None, decode="json"), "true"),
        ("key:data.id", message(b'{"id": null}'), None),
        ("key:data.id", message(b'{"id": ["x"]}'), None),
        ("key:data.id", message(b'["id"]'), None),
        ("key:data.id", message(b'{"id": "\xff"}'), None),
        ("key:data.id", message(b'{"id": 1}', datacontenttype="text/plain"), None),
        ("key:data.id", message(b'{"id": 1}', coding="gzip"), None),
        ("key:data.id", message(b"[" * 200_000), None),
        ("key:data.id", message(b'{"id": 1, "x": "' + b"x" * MOST_DATA_BYTES + b'"}'), None),
        ("never", request(headers={"x-session": "a"}), None),
    ],
)
def test_the_key_is_a_part_of_the_event(reuse: str, event: Event, expected: str | None) -> None:
    assert key(reuse, event) == expected


def test_a_long_key_is_held_as_its_hash() -> None:
    keys = {key("key:header.x", request(headers={"x": name * LONGEST_KEY * 2})) for name in "ab"}

    assert len(keys) == 2
    assert all(one is not None and len(one) < LONGEST_KEY for one in keys)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.invariant("I22")
@given(st.binary() | st.builds(encode, json_values | st.fixed_dictionaries({"id": json_values})))
def test_any_body_has_a_key_or_none(body: bytes) -> None:
    found = key("key:data.id", message(body))
    assert found is None or 0 < len(found) <= LONGEST_KEY


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("often", 'is not "always", "never" or "key:" and a part of the event, "key:header.x-session"'),
        ("header.x", 'is not "always", "never" or "key:" and a part of the event, "key:header.x-session": write "key:'),
        ("key:", "has no known source"),
        ("key:body.id", "has no known source: write"),
        ("key:header", "does not name a part of the event"),
        ("key:header.a b", "does not name a part of the event"),
        ("key:data.a..b", "does not name a part of the event"),
        ("key:path.", 'does not name a part of the event: write "key:path.NAME"'),
    ],
)
def test_a_wrong_expression_is_told(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"is not|has no|does not") as error:
        Reuse.parse(text)
    assert wrong in str(error.value)
