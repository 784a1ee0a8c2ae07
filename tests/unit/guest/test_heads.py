"""The part of an event that the guest keeps, because the next one often has the same."""

import json

import pytest

from bus import Event, HttpSection
from sandbox import wire
from sandbox.guest._forklight import wire as guest


@pytest.mark.parametrize("subject", ["x", "x" * guest.KEPT_CHARS])
def test_what_a_handler_does_to_its_event_does_not_reach_the_next_one(subject: str) -> None:
    http = HttpSection(method="GET", path="/", route="/", headers={"a": "b"}, query_all={"c": ["d"]})
    event = Event(source="/", type="t", subject=subject, http=http)
    frames, heads = guest.Frames(), []
    for i in range(4):
        frames.feed(wire.invoke(i, 2, 1, "warm", event)[0])
        header, _ = frames.next() or ({}, b"")
        heads.append(json.dumps(header["event"]))
        header["event"]["http"]["headers"]["a"] = header["event"]["http"]["query_all"]["c"][0] = header["event"][
            "x"
        ] = "y"
    assert len(set(heads)) == 1
