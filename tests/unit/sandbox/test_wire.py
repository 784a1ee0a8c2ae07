"""Frames between server and guest: what one side writes the other reads, however the stream is cut into pieces."""

import json
import socket
import threading
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bus import CallSection, Event, Failed, HttpSection, Ok, Output
from bus.event import fixed_part
from sandbox import wire
from sandbox.frames import Asked, ChunkFrame, EndFrame, Frame, OkFrame
from sandbox.guest._forklight import wire as guest
from sandbox.guest._forklight.invocation import run
from sandbox.guest._forklight.wire import ONE_WRITE_BYTES
from tests.kit.guest import make_function, make_head, never

MIB = 1024 * 1024
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(0, 2**63 - 1)
HEADERS = st.dictionaries(TEXTS, TEXTS, max_size=3)
Pieces = list[bytes]
OK = {"t": "ok", "i": 1, "length": 0}


def cut(stream: bytes, places: list[int]) -> Pieces:
    """A stream in pieces, as a socket may deliver it."""
    ends = sorted(place % (len(stream) + 1) for place in places)
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


PLACES = st.lists(st.integers(0, 10**6), max_size=8)
NUMBERS = st.fixed_dictionaries({"i": COUNTS}, optional={"started_ns": COUNTS, "cpu_ns": COUNTS, "log": COUNTS})


@st.composite
def outputs(draw: st.DrawFn) -> Output:
    return Output(
        kind=draw(st.sampled_from(["send", "publish", "spawn"])),
        name=draw(TEXTS),
        content_type=draw(TEXTS),
        body=draw(st.binary(max_size=50)),
        delay_s=draw(st.floats(0, guest.MAX_SECONDS)),
        id=draw(st.none() | TEXTS),
        headers=draw(HEADERS),
        correlation_id=draw(st.none() | TEXTS),
        reply_to=draw(st.none() | TEXTS),
    )


@st.composite
def ok_replies(draw: st.DrawFn) -> tuple[dict[str, Any], list[bytes]]:
    """Header and chunks of an `ok` frame as a guest packs it."""
    body, sent = draw(st.binary(max_size=100)), draw(st.lists(outputs(), max_size=3))
    listed = [
        (*(out.kind, out.name, out.content_type, len(out.body), out.delay_s), *structs.astuple(out)[5:]) for out in sent
    ]
    header = {
        "t": "ok",
        "status": draw(st.integers(100, 599)),
        "type": draw(st.none() | TEXTS),
        "headers": draw(st.lists(st.tuples(TEXTS, TEXTS), max_size=3)),
        "length": len(body),
        "out": listed,
    }
    return header | draw(NUMBERS), [body, *(out.body for out in sent)]


@st.composite
def fail_replies(draw: st.DrawFn) -> tuple[dict[str, Any], list[bytes]]:
    header = {"t": "fail", "kind": draw(st.sampled_from(["error", "timeout"])), "traceback": draw(TEXTS)}
    later = {"retry_after_s": draw(st.none() | st.floats(0, guest.MAX_SECONDS))}
    return header | {"code": draw(TEXTS), "message": draw(TEXTS)} | later | draw(NUMBERS), []


def with_body(header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], Pieces]:
    return header, [body]


CHUNKS = st.binary(min_size=1, max_size=100)
CREDITS = st.integers(1, 2**53)
CHUNK_HEADS = st.fixed_dictionaries({"t": st.just("chunk"), "i": COUNTS})
CREDIT_HEADS = st.fixed_dictionaries({"t": st.just("credit"), "i": COUNTS, "bytes": CREDITS})
CALL_HEADS = st.fixed_dictionaries({"t": st.just("call"), "i": COUNTS, "c": CREDITS, "function": TEXTS, "type": TEXTS})
PARTS = (
    st.builds(with_body, CHUNK_HEADS, CHUNKS)
    | st.builds(with_body, CREDIT_HEADS, st.just(b""))
    | st.builds(with_body, CALL_HEADS, st.binary(max_size=100))
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[dict[str, Any], list[bytes]]:
    """The `head` or the `end` that a guest makes of an `ok`."""
    header, (_, *bodies) = draw(ok_replies())
    if draw(st.booleans()):
        return {name: header[name] for name in ("i", "status", "type", "headers")} | {"t": "head"}, []
    return {name: header[name] for name in header.keys() - {"status", "type", "headers", "length"}} | {
        "t": "end"
    }, bodies


UNFIT = st.fixed_dictionaries({"t": st.just("unfit"), "code": TEXTS, "message": TEXTS, "traceback": TEXTS})
NAMES = st.lists(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}(\.[a-z]{1,9})?", fullmatch=True), max_size=4)
LEARNT = st.fixed_dictionaries({"t": st.just("learnt"), "modules": NAMES})
FIRST = (st.just({"t": "ready"}) | UNFIT | LEARNT).map(lambda header: (header, list[bytes]()))
REPLIES = ok_replies() | fail_replies() | FIRST | PARTS | streams()


def as_sent(frame: Frame) -> dict[str, Any]:
    """The header that a guest would send for this frame, with all fields written out."""
    header = json.loads(msgspec.json.encode(frame))
    assert isinstance(header, dict)
    return header


def packed(header: dict[str, Any], chunks: Pieces) -> bytes:
    return b"".join(guest.pack(guest.encode(header), chunks))


@pytest.mark.invariant("I13")
@given(st.lists(REPLIES, max_size=4), PLACES)
def test_what_a_guest_replies_arrives_however_it_is_cut(
    replies: list[tuple[dict[str, Any], Pieces]], places: list[int]
) -> None:
    frames = wire.Frames(MIB)
    stream = b"".join(packed(*reply) for reply in replies)
    arrived = [found for piece in cut(stream, places) for found in frames.feed(piece)]
    assert len(arrived) == len(replies)
    for (frame, body), (header, chunks) in zip(arrived, replies, strict=True):
        assert as_sent(frame) | json.loads(json.dumps(header)) == as_sent(frame)
        assert body == b"".join(chunks)


@pytest.mark.invariant("I13")
@given(ok_replies())
def test_outputs_are_cut_out_of_the_body_in_order(reply: tuple[dict[str, Any], Pieces]) -> None:
    header, (result, *bodies) = reply
    [(frame, body)] = wire.Frames(MIB).feed(packed(header, [result, *bodies]))
    assert isinstance(frame, OkFrame)
    assert body[: frame.length] == result
    [(end, ending)] = wire.Frames(MIB).feed(packed({"t": "end", "i": header["i"], "out": header["out"]}, bodies))
    assert isinstance(end, EndFrame)
    assert wire.outputs(end, ending) == wire.outputs(frame, body)
    found = wire.outputs(frame, body)
    assert [output.body for output in found] == bodies
    for output, (kind, name, content_type, _, *rest) in zip(found, header["out"], strict=True):
        assert output == Output(kind, name, content_type, output.body, *rest)


@st.composite
def events(draw: st.DrawFn) -> Event:
    """A single event, or a batch."""
    http = HttpSection(method="PUT", path=draw(TEXTS), route="/", params={"id": draw(COUNTS)}, headers=draw(HEADERS))
    items = draw(st.none() | st.lists(st.binary(max_size=50).map(item), max_size=3).map(tuple))
    body = draw(st.binary(max_size=100)) if items is None else b""
    made = Event(source=draw(TEXTS), type="t", subject=draw(st.none() | TEXTS), body=body, http=http, items=items)
    is_known = items is None and draw(st.booleans())
    return msgspec.structs.replace(made, fixed=fixed_part(made)) if is_known else made


def item(body: bytes) -> Event:
    return Event(source="/queue", type="forklight.queue", body=body)


TOKENS = st.text("abcXYZ-!~", min_size=1, max_size=8).map(lambda name: f"x-{name}")
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
MEDIA_TYPES = VALUES.map(lambda text: f"a/{text}")


@pytest.mark.invariant("I13")
@given(st.integers(100, 599), MEDIA_TYPES, st.lists(st.tuples(TOKENS, VALUES), max_size=3), VALUES, st.integers(0, 1))
def test_a_handlers_response_arrives_as_returned(
    status: int, media_type: str, headers: list[tuple[str, str]], text: str, log: int
) -> None:
    def handler(event: Any, context: Any) -> Any:
        context.send(f"q{text}", text, headers={text: media_type})
        return text, status, [("content-type", media_type), *headers]

    reply = run(make_function(handler), make_head(), b"", never)
    [(frame, body)] = wire.Frames(MIB).feed(b"".join(reply.pack(log)))
    assert isinstance(frame, OkFrame)
    assert (frame.i, frame.status, frame.type, list(frame.headers), frame.log) == (7, status, media_type, headers, log)
    assert 0 < frame.started_ns <= frame.finished_ns
    assert (body[: frame.length], frame.peak_rss_kb > 1000) == (text.encode(), True)
    [output] = wire.outputs(frame, body)
    assert (output.name, output.body, output.headers) == (f"q{text}", text.encode(), {text: media_type})


def read_all(stream: bytes, places: list[int]) -> list[guest.Frame]:
    """The frames that a guest finds in the stream if it looks after each piece."""
    frames, found = guest.Frames(), []
    for piece in cut(stream, places):
        frames.feed(piece)
        while (frame := frames.next()) is not None:
            found.append(frame)
    return found


@pytest.mark.invariant("I13")
@given(st.lists(st.tuples(events(), st.integers(1, 4)), max_size=3), PLACES)
def test_what_is_invoked_arrives_at_the_guest_however_it_is_cut(several: Any, places: list[int]) -> None:
    stream, sent = b"", [event for event, times in several for _ in range(times)]
    for i, event in enumerate(sent):
        stream += b"".join(wire.invoke(i, 2**62, 3, "fork", event)) + wire.cancel(i)
    found = read_all(stream, places)
    assert found[1::2] == [({"t": "cancel", "i": i}, b"") for i in range(len(sent))]
    for i, (event, (header, body)) in enumerate(zip(sent, found[::2], strict=True)):
        head = header.pop("event")
        assert header == {"t": "invoke", "i": i, "deadline_ns": 2**62, "attempt": 3, "start": "fork"}
        items = head.pop("items", None)
        said = {name: value for name, value in msgspec.to_builtins(event).items() if value is not None}
        assert head == {name: value for name, value in said.items() if name not in ("body", "items", "fixed")}
        if event.items is None:
            assert (items, body) == (None, event.body)
        else:
            assert [one["length"] for one in items] == [len(one.body) for one in event.items]
            assert [one["id"] for one in items] == [one.id for one in event.items]
            assert body == b"".join(one.body for one in event.items)


LONG = b"".join(bytes([n]) * 1000 for n in range(200))


@pytest.mark.invariant("I13")
@given(PLACES)
def test_long_results_arrive_however_they_are_cut(places: list[int]) -> None:
    bodies = [LONG, b"short", LONG[::-1], LONG, b""]
    stream = b"".join(packed(OK | {"i": i, "length": len(body)}, [body]) for i, body in enumerate(bodies))
    frames = wire.Frames(MIB)
    arrived = [found for piece in cut(stream, places) for found in frames.feed(piece)]
    assert [(frame.i, body) for frame, body in arrived if isinstance(frame, OkFrame)] == list(enumerate(bodies))
    assert frames.missing_bytes == 0


def test_a_result_in_the_smallest_pieces_takes_no_more_memory_than_it_is_long() -> None:
    size = 300_000
    header = guest.encode(OK | {"length": size}).encode()
    frames = wire.Frames(size)
    tracemalloc.start()
    try:
        found = frames.feed(guest.LENGTHS.pack(len(header), size) + header)
        for at in range(0, size, 2):
            held_bytes, _ = tracemalloc.get_traced_memory()
            found += frames.feed(b"%02d" % (at % 100))
    finally:
        tracemalloc.stop()
    [(_, body)] = found
    assert len(body) == size
    assert held_bytes < 2 * size


@pytest.mark.invariant("I13")
@given(PLACES)
def test_long_bodies_arrive_at_the_guest_however_they_are_cut(places: list[int]) -> None:
    events = [Event(source="/", type="t", body=body) for body in (LONG, b"short", LONG[::-1], b"")]
    frames = [b"".join(wire.invoke(i, 2, 1, "warm", event)) for i, event in enumerate(events)]
    found = read_all(b"".join(frames), places)
    assert [(header["i"], body) for header, body in found] == [(i, event.body) for i, event in enumerate(events)]


def test_the_guest_reads_a_long_body_from_its_socket_without_a_copy() -> None:
    event = Event(source="/", type="t", body=bytes(8 * MIB))
    pieces = [*wire.invoke(1, 2, 1, "warm", event), wire.cancel(1)]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = threading.Thread(target=ours.sendall, args=(b"".join(pieces),))
        writer.start()
        frames = guest.Frames()
        tracemalloc.start()
        try:
            frame = guest.read(theirs.fileno(), frames)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        cancel = guest.read(theirs.fileno(), frames)
        writer.join()
    assert frame is not None
    assert frame[1] == event.body
    assert cancel == ({"t": "cancel", "i": 1}, b"")
    assert peak_bytes < 9 * MIB


OUTCOMES = st.builds(Ok, body=st.binary(max_size=50), content_type=st.none() | TEXTS, status=st.integers(100, 599))
FAILURES = st.builds(
    Failed, kind=st.just("error"), code=TEXTS, message=TEXTS, retry_after_s=st.none() | st.floats(0, 9)
)


@st.composite
def streamed(draw: st.DrawFn) -> tuple[bytes, guest.Frame]:
    """A frame to the guest beside `invoke` and `cancel`: its bytes, and what the guest is to read."""
    i, c, body = draw(COUNTS), draw(CREDITS), draw(CHUNKS)
    error, outcome = draw(st.none() | TEXTS), draw(OUTCOMES | FAILURES)
    match draw(st.sampled_from(["chunk", "end", "credit", "reply", "tidy"])):
        case "chunk":
            return b"".join(wire.chunk(i, body)), ({"t": "chunk", "i": i}, body)
        case "end":
            said = {} if error is None else {"error": error}
            return wire.end(i, error), ({"t": "end", "i": i, **said}, b"")
        case "credit":
            return wire.credit(i, c), ({"t": "credit", "i": i, "bytes": c}, b"")
        case "tidy":
            return wire.tidy(), ({"t": "tidy", "i": 0}, b"")
    head = {"t": "reply", "i": i, "c": c}
    if isinstance(outcome, Ok):
        result: dict[str, Any] = {"status": outcome.status, "type": outcome.content_type, "headers": []}
        return b"".join(wire.reply(i, c, outcome)), (head | result, outcome.body)
    failed = {"kind": outcome.kind, "code": outcome.code, "message": outcome.message}
    return b"".join(wire.reply(i, c, outcome)), (head | failed | {"retry_after_s": outcome.retry_after_s}, b"")


@pytest.mark.invariant("I13")
@given(st.lists(streamed(), max_size=4), PLACES)
def test_what_a_stream_sends_to_the_guest_arrives_however_it_is_cut(
    sent: list[tuple[bytes, guest.Frame]], places: list[int]
) -> None:
    assert read_all(b"".join(data for data, _ in sent), places) == [frame for _, frame in sent]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(), {}),
        (Asked(more=True, credit=0), {"more": True, "credit": 0}),
        (Asked(credit=65_536, calls=3), {"credit": 65_536, "calls": 3}),
    ],
)
def test_an_invocation_says_what_it_asks_for(asked: Asked, said: dict[str, Any]) -> None:
    [plain] = read_all(b"".join(wire.invoke(1, 2, 1, "warm", item(b"x"))), [])
    [(header, body)] = read_all(b"".join(wire.invoke(1, 2, 1, "warm", item(b"x"), asked=asked)), [])
    assert body == b"x"
    assert {name: header[name] for name in header.keys() - plain[0].keys()} == said


def test_the_guest_reads_from_its_socket_until_the_dispatcher_closes_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames = guest.Frames()
        event = Event(source="/", type="t", body=b"x" * 1000, call=CallSection())
        for piece in [*wire.invoke(1, 2, 1, "warm", event), wire.cancel(1)]:
            ours.sendall(piece)
        ours.close()
        read = [guest.read(theirs.fileno(), frames) for _ in range(3)]
    assert [frame and (frame[0]["t"], len(frame[1])) for frame in read] == [("invoke", 1000), ("cancel", 0), None]


@pytest.mark.parametrize(
    "chunks", [[], [b"x"], [b"x" * 100_000], [b"x" * 400_000, b"y" * 400_000], [b"xy" * 40] * 1100]
)
def test_the_guest_writes_a_whole_frame_whatever_its_size(chunks: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    writer = threading.Thread(target=guest.write, args=(theirs.fileno(), guest.pack('{"t":"ok"}', chunks)))
    with ours, theirs:
        writer.start()
        frames = guest.Frames()
        frame = guest.read(ours.fileno(), frames)
        writer.join()
        theirs.close()
        assert guest.read(ours.fileno(), frames) is None
    assert frame == ({"t": "ok"}, b"".join(chunks))


@pytest.mark.parametrize(("more", "pieces"), [(0, 1), (1, 2)])
def test_an_invocation_up_to_the_limit_leaves_in_one_write(more: int, pieces: int) -> None:
    event = Event(source="/", type="t")
    [empty] = wire.invoke(1, 2, 1, "warm", event)
    full = msgspec.structs.replace(event, body=bytes(ONE_WRITE_BYTES - len(empty) + more))
    written = wire.invoke(1, 2, 1, "warm", full)
    assert (len(written), sum(map(len, written))) == (pieces, ONE_WRITE_BYTES + more)


@pytest.mark.parametrize(("more", "pieces"), [(0, 1), (1, 3)])
def test_a_reply_up_to_the_limit_leaves_in_one_write(more: int, pieces: int) -> None:
    room = ONE_WRITE_BYTES - len(packed(OK, [])) + more
    written = guest.pack(guest.encode(OK), [bytes(room - 10), bytes(10)])
    assert (len(written), sum(map(len, written))) == (pieces, ONE_WRITE_BYTES + more)


@pytest.mark.parametrize("limit", [10, 10 * wire.CHUNK_BYTES])
def test_a_chunk_has_its_own_limit(limit: int) -> None:
    for body in (b"1", bytes(wire.CHUNK_BYTES)):
        assert wire.Frames(limit).feed(packed({"t": "chunk", "i": 1}, [body])) == [(ChunkFrame(i=1), body)]
    for body in (b"", bytes(wire.CHUNK_BYTES + 1)):
        with pytest.raises(
            wire.Breach, match=f"{len(body)} bytes; (it must have 1 to|the limit is) {wire.CHUNK_BYTES}"
        ):
            wire.Frames(limit).feed(packed({"t": "chunk", "i": 1}, [body]))


def test_a_body_at_the_limit_is_taken() -> None:
    [(_, body)] = wire.Frames(10).feed(packed(OK | {"length": 10}, [b"0123456789"]))
    assert body == b"0123456789"
