"""The kept log: what is written is read back, whatever a crash cuts off, and a disk that fails harms nobody."""

import asyncio
import contextlib
import logging
import stat
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from forklight.observe.entry import Entry, Selection, size_bytes
from forklight.observe.formats import json_lines
from forklight.observe.journal import Journal
from forklight.observe.kept import keeper as keeping
from forklight.observe.kept.files import KeptFiles, has_kept, read_kept, remove_kept
from forklight.observe.kept.history import History
from forklight.observe.kept.keeper import Keeper
from forklight.observe.kept.lines import Kept, LineReader, head, lines
from forklight.observe.kept.merge import Merge, Tail, of_ended_servers, of_latest_server
from sandbox.log_lines import LogLine
from tests.kit.support import until

EVERYTHING = Selection()
TEXTS = st.text(max_size=20) | st.sampled_from(["\n", "\x1b[2J", "\u2028", '"', '{"version":1}', "\udc80"])
ENTRIES = st.builds(
    Entry,
    time=st.floats(0, 2e9),
    function=st.sampled_from(["", "greet", "ship"]),
    text=TEXTS,
    invocation=st.sampled_from(["", "aa-00000001", "bb-00000001"]),
    outcome=st.sampled_from(["", "ok", "error/KeyError"]),
    traceback=TEXTS,
    extra=st.just(Raw(b'{"a":[1,"\\u001b"]}')),
)


def line(number: int, entry: Entry) -> bytes:
    return lines([(number, entry)])


def read(data: bytes, pieces: Sequence[int] = (), selection: Selection = EVERYTHING) -> list[Kept]:
    reader, found = LineReader(selection), []
    for count in pieces:
        found += reader.feed(data[:count])
        data = data[count:]
    return found + reader.feed(data) + reader.end()


def plain(entry: Entry) -> tuple[object, ...]:
    """What is compared: a lone surrogate is escaped in the file."""
    texts = (text.encode(errors="backslashreplace") for text in (entry.text, entry.traceback))
    return (entry.time, entry.function, *texts, entry.invocation, entry.outcome, bytes(entry.extra))


@pytest.mark.invariant("I40")
@given(st.lists(ENTRIES, max_size=6), st.lists(st.integers(0, 50), max_size=20), st.data())
def test_what_is_written_is_read_back_and_a_cut_costs_the_last_line_alone(
    entries: list[Entry], pieces: list[int], data: st.DataObject
) -> None:
    parts = [head(1.5), *(line(number, entry) for number, entry in enumerate(entries, 1))]
    written = b"".join(parts)
    found = read(written, pieces)
    assert [(kept.started, kept.number) for kept in found] == [(1.5, number) for number in range(1, len(entries) + 1)]
    assert [plain(kept.entry) for kept in found] == [plain(entry) for entry in entries]

    cut = data.draw(st.integers(0, len(written)), "cut")
    whole = sum(len(b"".join(parts[: index + 1])) - 1 <= cut for index in range(len(parts)))
    assert [kept.number for kept in read(written[:cut])] == list(range(1, whole))
    after = read(written[:cut] + b"\n" + head(2.5) + b"".join(parts[1:]))
    assert [(kept.started, kept.number) for kept in after] == [
        *((1.5, number) for number in range(1, whole)),
        *((2.5, number) for number in range(1, len(entries) + 1)),
    ]


@pytest.mark.invariant("I40")
@given(st.lists(ENTRIES, max_size=6), st.binary(max_size=60))
def test_any_other_bytes_between_are_skipped(entries: list[Entry], strange: bytes) -> None:
    parts = [line(number, entry) for number, entry in enumerate(entries, 1)]
    found = read(head(1.5) + (b"\n" + strange.replace(b"[", b"").replace(b"{", b"") + b"\n").join([b"", *parts]))
    assert [kept.number for kept in found] == list(range(1, len(entries) + 1))
    assert read(b'{"version":2,"started":1.0}\n' + b"".join(parts)) == []


@given(st.lists(ENTRIES, max_size=6), st.sampled_from(["", "greet"]), st.sampled_from(["", "00000001", "aa-00000001"]))
@pytest.mark.invariant("I40")
def test_what_is_selected_before_it_is_decoded_is_what_is_selected(
    entries: list[Entry], function: str, invocation: str
) -> None:
    selection = Selection(function=function or None, invocation=invocation, since_s=1e9)
    written = head(1.5) + b"".join(line(number, entry) for number, entry in enumerate(entries, 1))
    expected = [number for number, entry in enumerate(entries, 1) if selection.has(entry)]
    assert [kept.number for kept in read(written, selection=selection)] == expected


@pytest.mark.invariant("I40")
@given(st.lists(st.lists(st.integers(1, 400), max_size=30), min_size=1, max_size=4), st.integers(800, 4000))
def test_the_files_keep_the_latest_within_their_bound(servers: list[list[int]], keep_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        state, written = Path(folder), []
        for started, sizes in enumerate(servers, 1):
            files = KeptFiles(state, keep_bytes, float(started))
            for number, size in enumerate(sizes, 1):
                text = line(number, Entry(time=1.0, function="f", text="x" * size))
                if len(text) <= files.largest_bytes:
                    files.write(text)
                    written.append((float(started), number))
                assert sum(path.stat().st_size for path in state.iterdir()) <= keep_bytes
            files.close()
        found = [(kept.started, kept.number) for piece in read_kept(state, EVERYTHING) for kept in piece]
        assert found == written[len(written) - len(found) :]
        assert found or not written


@pytest.mark.invariant("I40")
@given(st.integers(0, 12), st.sets(st.integers(1, 14)), st.sets(st.integers(1, 12)), st.booleans())
def test_files_and_memory_together_have_each_entry_once(
    last: int, in_files: set[int], in_memory: set[int], earlier: bool
) -> None:
    def entry(number: int) -> Entry:
        return Entry(time=float(-number), function="f", text=str(number))

    held = [(number, entry(number)) for number in sorted(in_memory) if number <= last]
    merge = Merge(2.0, held, last)
    found = merge.feed([Kept(1.0, 7, Entry(time=0.0, function="f", text="earlier"))] * earlier)
    for number in sorted(in_files):
        found += merge.feed([Kept(2.0, number, entry(number))])
    found += merge.end()
    expected = [str(number) for number in sorted(in_files | in_memory) if number <= last]
    assert [one.text for one in found] == ["earlier", ""] * earlier + expected
    assert [one.started for one in found] == [False, True] * earlier + [False] * len(expected)


def test_the_last_entries_and_those_of_the_latest_server() -> None:
    def entries(*texts: str) -> list[Entry]:
        return [Entry(time=1.0, function="f", text=text, started=text == "-") for text in texts]

    for count, expected in ((1, "c"), (2, "b-c"), (3, "ab-c"), (9, "ab-c")):
        tail = Tail(count)
        tail.feed(entries("a", "b", "-", "c"))
        assert "".join(entry.text for entry in tail.entries) == expected
    assert [entry.text for entry in of_latest_server(entries("a", "-", "b", "c", "-"))] == ["b", "c"]


def test_only_the_owner_reads_the_files_and_a_changed_bound_counts(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path, 2000, 1.0)
    for number in range(20):
        files.write(line(number, Entry(time=1.0, function="f", text="x" * 100)))
    files.close()
    (tmp_path / "log.jsonl").chmod(0o644)
    assert has_kept(tmp_path)
    smaller = KeptFiles(tmp_path, 1000, 2.0)
    smaller.write(line(1, Entry(time=1.0, function="f", text="x")))
    smaller.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    remove_kept(tmp_path)
    assert not has_kept(tmp_path)


def test_files_that_somebody_removed_are_made_again(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path, 4000, 1.0)
    files.write(line(1, Entry(time=1.0, function="f", text="before")))
    (tmp_path / "log.jsonl").unlink()
    files.write(line(2, Entry(time=1.0, function="f", text="after")))
    files.close()
    assert [entry.text for entry in of_ended_servers(read_kept(tmp_path, EVERYTHING))] == ["after"]


@contextlib.asynccontextmanager
async def kept(state: Path, started: float) -> AsyncIterator[tuple[Journal, History]]:
    """A journal that is kept; afterwards everything is written."""
    keeper = Keeper(KeptFiles(state, 1024 * 1024, started))
    journal = Journal(json_lines, -1, keep=keeper.add)
    task = asyncio.create_task(keeper.run())
    try:
        yield journal, History(journal, keeper)
    finally:
        await asyncio.sleep(0)  # it has begun
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def say(journal: Journal, *texts: str) -> None:
    for text in texts:
        journal.line(LogLine(function="greet", instance="greet-1", invocation="id-1", text=text))


async def texts(history: History, selection: Selection = EVERYTHING) -> list[str]:
    return ["—" if entry.started else entry.text for entry in await history.all(selection)]


async def test_the_next_server_remembers_what_the_last_one_kept(tmp_path: Path) -> None:
    async with kept(tmp_path, 1.0) as (journal, history):
        say(journal, *map(str, range(250)))
        assert await texts(history) == [*map(str, range(250))], "also what is not written yet"
    async with kept(tmp_path, 2.0) as (journal, history):
        assert (await texts(history))[-2:] == ["249", "—"]
        say(journal, "new")
        assert (await texts(history))[-3:] == ["249", "—", "new"]
        assert [entry.text for entry in await history.last(EVERYTHING, 1)] == ["new"]
        await until(lambda: b'"new"' in (tmp_path / "log.jsonl").read_bytes())
        assert (await texts(history))[-3:] == ["249", "—", "new"], "once, although it is in memory and in the file"
        assert await texts(history, Selection(function="ship")) == []


async def test_a_folder_that_cannot_be_written_costs_one_line_and_is_used_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "AGAIN_S", 0.01)
    caplog.set_level(logging.WARNING)
    state = tmp_path / "state"
    async with kept(state, 1.0) as (journal, history):
        say(journal, "one")
        await until(lambda: "not kept for now" in caplog.text)
        say(journal, "two")
        assert await texts(history) == ["one", "two"], "from memory"
        state.mkdir()
        await until(lambda: "kept again; 0 lines" in caplog.text)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    assert [entry.text for entry in of_ended_servers(read_kept(state, EVERYTHING))] == ["one", "two"]


async def test_what_is_over_the_bound_of_the_queue_is_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = size_bytes(Entry(time=1.0, function="greet", text="x"))
    monkeypatch.setattr(keeping, "QUEUE_BYTES", 10 * one)
    keeper = Keeper(KeptFiles(tmp_path, 1024 * 1024, 1.0))
    for number in range(1, 31):
        keeper.add((number, Entry(time=1.0, function="greet", text="x"), one))
    assert len(keeper.pending()) == 10
    task = asyncio.create_task(keeper.run())
    await until(lambda: "20 lines of it were not kept" in caplog.text)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [kept.number for piece in read_kept(tmp_path, EVERYTHING) for kept in piece] == list(range(1, 11))
