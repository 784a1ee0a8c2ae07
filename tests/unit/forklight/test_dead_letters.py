"""Dead letters: their headers, names and previews, and what a replay sends back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.message import Delivery, Message, dead_message
from bus.store import Stored
from forklight.admin.dead_letters import (
    PREVIEW_BYTES,
    DeadLetter,
    LetterError,
    Search,
    belongs,
    dead_letter,
    preview,
    replayed,
)
from forklight.admin.dead_letters import shown as show

PLACE, AT_SHOP = ("", "forklight.dead.f"), ("shop", "orders.dead")
ORIGINAL = Message(
    id="order-7",
    body=b'{"order": 7}',
    content_type="application/json",
    headers={
        "ce-id": "order-7",
        "tenant": "acme",
        "forklight-caller": "g",
        "forklight-properties": {"content_encoding": "gzip"},
        "forklight-hops": 3,
    },
)


def _dead(message: Message = ORIGINAL, key: str = "1") -> Stored:
    """As a store keeps it after its fifth attempt."""
    delivery = Delivery(queue="orders", message=message, lease=None, attempt=5, first_error="error/A: first")
    dead = dead_message(delivery, "f", "Attempts", "error/B: last", 1_800_000_000.5)
    return Stored(key=key, message=dead, size_bytes=len(message.body))


def _named(letter_id: str, key: str) -> Stored:
    return Stored(key=key, message=Message(id=letter_id))


def keys_of(*names: str) -> list[str]:
    """Return the letters that the names mean."""
    search = Search(names)
    for stored in LETTERS:
        search.look_at(("", "dead"), stored)
    return [stored.key for _, stored in search.found()]


def test_a_letter_says_where_it_came_from_and_why_it_died() -> None:
    letter = dead_letter(AT_SHOP, _dead())
    assert letter == DeadLetter(
        id="order-7",
        key="1",
        dead_letter="orders.dead@shop",
        queue="orders@shop",
        function="f",
        reason="Attempts",
        attempts=5,
        first_error="error/A: first",
        last_error="error/B: last",
        died_at_s=1_800_000_000.5,
        content_type="application/json",
        size_bytes=12,
    )
    assert [belongs(letter, queue) for queue in ("orders.dead@shop", "orders@shop", "orders")] == [True, True, False]


def test_a_stranger_is_told_by_its_key() -> None:
    stranger = dead_letter(PLACE, Stored(key="9", message=Message(headers={"forklight-attempt": "many"})))
    assert stranger == DeadLetter(id="9", key="9", dead_letter="forklight.dead.f")


@pytest.mark.parametrize(
    "value", ["nan", "inf", float("nan"), float("-inf"), -1, 10**400, "1e400", [], None, b"5", "x"]
)
def test_a_strangers_numbers_are_none(value: object) -> None:
    headers = {"forklight-attempt": value, "forklight-died-at": value}
    stranger = dead_letter(PLACE, Stored(key="9", message=Message(headers=headers)))
    assert (stranger.attempts, stranger.died_at_s) == (None, None)


def test_a_time_in_milliseconds_is_none() -> None:
    headers = {"forklight-died-at": 1_800_000_000_000}
    assert dead_letter(PLACE, Stored(key="9", message=Message(headers=headers))).died_at_s is None


def test_a_closer_look_has_the_original_headers_and_the_body() -> None:
    message = Message(id="m", body=b"hello", content_type="text/plain", headers={"n": 1, "raw": b"\xff"}, reply_to="r")
    shown = show(PLACE, _dead(message))
    assert (shown.headers, shown.body, shown.is_whole, shown.reply_to) == ({"n": 1, "raw": "/w=="}, "hello", True, "r")


def test_headers_that_are_nested_too_deeply_are_told_as_such() -> None:
    deep: dict[str, object] = {}
    for _ in range(100):
        deep = {"x": deep}
    assert "nested" in show(PLACE, _dead(Message(headers=deep))).headers[""]


def test_sent_back_it_is_what_it_was() -> None:
    outgoing = replayed(AT_SHOP, _dead())
    assert outgoing is not None
    assert (outgoing.queue, outgoing.broker, outgoing.delay_s) == ("orders", "shop", 0.0)
    assert (outgoing.message.id, outgoing.message.body) == (ORIGINAL.id, ORIGINAL.body)
    assert outgoing.message.headers == {
        "ce-id": "order-7",
        "tenant": "acme",
        "forklight-caller": "g",
        "forklight-properties": {"content_encoding": "gzip"},
    }


def test_a_stranger_cannot_be_sent_back() -> None:
    assert replayed(PLACE, Stored(key="9", message=Message())) is None


LETTERS = [_named("abc-1", "1"), _named("abd-2", "2"), _named("abd", "3"), _named("2xyz", "4"), _named("3", "5")]


@pytest.mark.parametrize(
    ("name", "key"), [("abc-1", "1"), ("abc", "1"), ("abd", "3"), ("abd-", "2"), ("1", "1"), ("3", "5"), ("4", "4")]
)
def test_a_name_means_one_letter(name: str, key: str) -> None:
    assert keys_of(name) == [key]


def test_several_names_mean_each_letter_once() -> None:
    assert keys_of("abd", "1", "abc", "3") == ["3", "1", "5"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("zz", "there is no dead letter 'zz'"),
        ("", "there is no dead letter ''"),
        ("ab", r"'ab' matches 3 dead letters: abc-1 in dead \(key 1\), abd-2"),
        ("2", r"'2' matches 2 dead letters: abd-2 in dead \(key 2\), 2xyz in dead \(key 4\)"),
    ],
)
def test_a_name_that_means_none_or_several_is_refused(name: str, error: str) -> None:
    with pytest.raises(LetterError, match=error):
        keys_of("abd", name)


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b'{"a":[1]}', "application/json", '{\n  "a": [\n    1\n  ]\n}'),
        (b'"\xc3\xa9"', "application/cloudevents+json; charset=utf-8", '"\u00e9"'),
        (b"{broken", "application/json", "{broken"),
        (b"plain \xc3\xa9", None, "plain \u00e9"),
        (b"\xff\x00", "text/plain", "ff 00"),
        (b"", None, ""),
    ],
)
def test_a_body_is_shown_as_what_it_is(body: bytes, content_type: str | None, text: str) -> None:
    assert preview(body, content_type) == (text, True)


def test_of_a_long_body_the_beginning_is_shown() -> None:
    assert preview(b"x" * (PREVIEW_BYTES + 1), None) == ("x" * PREVIEW_BYTES, False)
    cut = "x" + "\u00e9" * (PREVIEW_BYTES // 2 - 1), False
    assert preview(("x" + "\u00e9" * PREVIEW_BYTES).encode(), None) == cut, "no half of a character"
    text, is_whole = preview(json.dumps(["x" * 9000]).encode(), "application/json")
    assert (len(text), is_whole) == (PREVIEW_BYTES, False)


@pytest.mark.invariant("I34")
@given(st.binary(max_size=200), st.sampled_from(["application/json", "text/plain", None]))
def test_every_body_can_be_shown(body: bytes, content_type: str | None) -> None:
    text, is_whole = preview(body, content_type)
    assert is_whole
    assert bool(text) == bool(body)
