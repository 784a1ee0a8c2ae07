"""The lines of a real pipe are whole, attributed to an invocation and limited, and reading them never blocks."""

import asyncio
import contextlib
import itertools
import os
import select
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sandbox.log_lines import LINE_BYTES, LINE_OVERHEAD_BYTES, LogLine
from sandbox.logs import PIPE_LINES, TURN_LINES, LogPipe, LogTurns
from sandbox.stacks import INTERRUPTED

PIPE_BYTES = 1024 * 1024


class Log:
    """A pipe with its reader, its write end, and the lines so far."""

    def __init__(self, limit_bytes: int) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self.lines: list[LogLine] = []
        self.turns = LogTurns(self._take)
        self.arrived = asyncio.Event()
        self.pipe = LogPipe(self.read_end, "shop", "shop-1", limit_bytes, self.turns)

    def _take(self, line: LogLine) -> None:
        self.lines.append(line)
        self.arrived.set()

    def write(self, data: bytes) -> None:
        """Write data and have it read, in portions that the pipe can hold."""
        for at in range(0, len(data), 64 * 1024):
            os.write(self.write_end, data[at : at + 64 * 1024])
            self.pipe.drain()

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]

    @property
    def owners(self) -> list[tuple[str | None, str]]:
        return [(line.invocation, line.text) for line in self.lines]


@contextlib.contextmanager
def open_log(limit_bytes: int = 1024 * 1024) -> Iterator[Log]:
    log = Log(limit_bytes)
    try:
        yield log
    finally:
        os.close(log.write_end)
        log.pipe.close()


async def test_it_is_read_as_it_fills() -> None:
    with open_log() as log:
        os.write(log.write_end, b"hello\n")
        await log.arrived.wait()
        assert log.lines == [LogLine("shop", "shop-1", None, "hello")]


async def test_a_line_comes_whole_however_it_was_written() -> None:
    with open_log() as log:
        log.write(b"one\ntw")
        assert log.texts == ["one"]
        log.write(b"o\n\nthr")
        assert log.texts == ["one", "two", ""]
    assert log.texts == ["one", "two", "", "thr"]


async def test_lines_belong_to_the_invocation_between_its_begin_and_its_end() -> None:
    with open_log() as log:
        log.write(b"before\n")
        log.pipe.begin(1, "a")
        log.write(b"in a\nopen end")
        log.pipe.end(1, drain=False)
        log.write(b"between\nopen end too")
        log.pipe.begin(2, "b")
        os.write(log.write_end, b"unread")
        log.pipe.end(2, drain=True)
        os.write(log.write_end, b"after\n")
    assert log.owners == [
        (None, "before"),
        ("a", "in a"),
        ("a", "open end"),
        (None, "between"),
        (None, "open end too"),
        ("b", "unread"),
        (None, "after"),
    ]


async def test_a_line_has_the_level_it_is_marked_with_and_the_trace_of_its_invocation() -> None:
    with open_log() as log:
        log.pipe.begin(1, "a", "00-trace")
        log.write(b"\x1e3ERROR shop: no\n\x1e3Traceback\nprinted\n\x1e9x\n\x1e")
        log.pipe.end(1, drain=False)
        log.write(b"after\n")
    assert [(line.level, line.text) for line in log.lines[:3]] == [
        ("error", "ERROR shop: no"),
        ("error", "Traceback"),
        ("", "printed"),
    ]
    assert log.texts[3:] == ["\x1e9x", "\x1e", "after"], "what is no mark of ours stays as it is"
    assert [line.traceparent for line in log.lines] == ["00-trace"] * 5 + [None]


async def test_a_record_has_its_traceback_and_what_it_was_given() -> None:
    with open_log() as log:
        log.write(b'\x1e3\x1e{"text":"ERROR shop: a\\nb","traceback":"Trace\\nback","extra":{"order":[7]}}\n')
        log.write(b"\x1e1INFO shop: sold\n")
    whole, plain = log.lines
    assert (whole.level, whole.text, whole.traceback) == ("error", "ERROR shop: a\nb", "Trace\nback")
    assert bytes(whole.extra) == b'{"order":[7]}'
    assert (plain.text, plain.traceback, bytes(plain.extra)) == ("INFO shop: sold", "", b"{}")


@pytest.mark.parametrize(
    "forged",
    [
        b"{",
        b"[]",
        b'{"text":1}',
        b'{"text":"\\ud800"}',
        b'{"text":"a","extra":{"x":"\\ud800"}}',
        b'{"text":"a","extra":[1]}',
        b'{"text":"a","extra":{"x":"\xff"}}',
        b'{"text":"a","extra":{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}}",
    ],
)
async def test_a_record_that_no_guest_of_ours_writes_is_text(forged: bytes) -> None:
    with open_log() as log:
        log.write(b"\x1e1\x1e" + forged + b"\n")
    [line] = log.lines
    assert (line.level, line.text) == ("info", "\x1e" + forged.decode(errors="backslashreplace"))
    assert (line.traceback, bytes(line.extra)) == ("", b"{}")


async def test_the_last_words_are_the_last_lines_as_they_are_logged_without_a_stack_for_us() -> None:
    with open_log() as log:
        log.write(b"before\n")
        log.pipe.keep_last_words(keep=True)
        log.write(b"\x1e3ERROR shop: no\n\n")
        log.pipe.await_stack()
        os.write(log.write_end, b" 50%\r100%\n" + INTERRUPTED + b"\n    at spin (/code/index.js:3:5)\n\nunended")
        assert log.pipe.last_words() == ["ERROR shop: no", "100%", "unended"]
        log.pipe.keep_last_words(keep=False)
        log.write(b"after\n")
        assert log.pipe.last_words() == []
        log.pipe.keep_last_words(keep=True)
        os.write(log.write_end, b"at last\n")
    assert log.pipe.last_words() == ["at last"], "also when the pipe is closed"


async def test_a_heap_that_is_full_is_noticed_behind_more_lines_than_a_turn_or_a_limit_has_room_for() -> None:
    with open_log(limit_bytes=500) as log:
        log.pipe.begin(1, "a")
        log.write(b"x\n" * (PIPE_LINES + 10))
        assert not log.pipe.has_full_heap
        log.write(b"\nFATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n")
        assert log.pipe.has_full_heap


async def test_the_pieces_of_a_long_record_all_have_its_level() -> None:
    with open_log() as log:
        log.write(b"\x1e3" + b"x" * (2 * LINE_BYTES) + b"\n")
    assert {line.level for line in log.lines} == {"error"}
    assert "".join(log.texts) == "x" * (2 * LINE_BYTES)


async def test_of_a_progress_bar_there_is_what_a_terminal_shows_in_the_end() -> None:
    with open_log() as log:
        log.write(b"  0%\r 50%\r100%\ndos line\r\n\rwhole\n\x1e1a\rb\n10%\r20%\r")
    assert log.texts == ["100%", "dos line", "whole", "a\rb", "20%"]


async def test_what_is_over_the_limit_is_dropped_and_counted() -> None:
    with open_log(limit_bytes=2 * LINE_OVERHEAD_BYTES + 9) as log:
        log.pipe.begin(1, "a")
        log.write(b"1234\n5678\nabc\n\nd\n")
        assert log.texts == ["1234", "5678"]
        log.pipe.end(1, drain=False)
        allowed = "a call may write 209 (`log`), and each line counts 100 more"
        assert log.owners[2:] == [("a", f"[forklight] 7 more bytes of log dropped: {allowed}")]


async def test_each_invocation_has_the_whole_limit() -> None:
    with open_log(limit_bytes=LINE_OVERHEAD_BYTES + 10) as log:
        for invocation in ("a", "b"):
            log.pipe.begin(1, invocation)
            log.write(b"12345678\n9\n")
            log.pipe.end(1, drain=False)
    marker = "[forklight] 2 more bytes of log dropped: a call may write 110 (`log`), and each line counts 100 more"
    assert log.owners == [("a", "12345678"), ("a", marker), ("b", "12345678"), ("b", marker)]


async def test_what_is_no_text_is_shown_with_escapes() -> None:
    with open_log() as log:
        log.write(b"\xff\xfe caf\xc3\xa9 \xc3\n")
        assert log.texts == ["\\xff\\xfe café \\xc3"]


async def test_a_character_cut_by_a_read_stays_whole() -> None:
    with open_log() as log:
        log.write("é".encode()[:1])
        log.write("é".encode()[1:] + b"\n")
        assert log.texts == ["é"]


async def test_a_long_line_is_cut_in_lines() -> None:
    with open_log() as log:
        log.write(b"x" * (2 * LINE_BYTES + 5) + b"\n" + b"y" * (LINE_BYTES + 1) + b"\n")
        assert list(map(len, log.texts)) == [LINE_BYTES, LINE_BYTES, 5, LINE_BYTES, 1]


async def test_a_line_of_the_longest_length_is_not_cut() -> None:
    with open_log() as log:
        log.write(b"x" * LINE_BYTES + b"\nend\n")
        assert list(map(len, log.texts)) == [LINE_BYTES, 3]


async def test_a_line_without_end_is_not_kept_without_bound() -> None:
    with open_log(limit_bytes=10**8) as log:
        log.write(b"x" * 1024 * 1024)
        assert sum(map(len, log.texts)) >= 1024 * 1024 - LINE_BYTES


@contextlib.contextmanager
def flooded(fd: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes lines of 100 bytes without pause."""
    program = "import os\nwhile True: os.write(1, (b'x' * 99 + b'\\n') * 600)"
    with subprocess.Popen([sys.executable, "-I", "-c", program], stdout=fd) as writer:
        try:
            yield writer
        finally:
            writer.kill()


async def test_a_flood_is_drained_for_no_more_than_a_pipe_s_content() -> None:
    with open_log(limit_bytes=10**9) as log, flooded(log.write_end) as writer:
        await log.arrived.wait()
        log.lines.clear()
        select.select([log.read_end], [], [])
        log.pipe.drain()
        assert writer.poll() is None
        log.turns.finish()
        assert 0 < len(log.lines) * 100 <= PIPE_BYTES + LINE_BYTES


async def test_after_the_last_writer_nothing_is_read_any_more() -> None:
    log = Log(limit_bytes=1000)
    log.write(b"open end")
    os.close(log.write_end)
    log.pipe.drain()
    log.pipe.drain()
    assert log.texts == []
    log.pipe.close()
    assert log.texts == ["open end"]


async def _turn_s_lines(logs: list[Log]) -> list[int]:
    """The number of lines that each turn of the loop brings, until a turn brings none."""
    counts = [sum(len(log.lines) for log in logs)]
    while not counts[1:] or counts[-1] > counts[-2]:
        await asyncio.sleep(0)
        counts.append(sum(len(log.lines) for log in logs))
    return [after - before for before, after in itertools.pairwise([0, *counts])]


async def test_a_turn_of_the_loop_handles_a_bounded_number_of_lines() -> None:
    with open_log(limit_bytes=10**9) as log:
        log.pipe.begin(1, "a")
        os.write(log.write_end, b"\n" * 65_536)
        log.pipe.end(1, drain=True)
        log.pipe.begin(2, "b")
        turns = await _turn_s_lines([log])
    assert sum(turns) == 65_536
    assert max(turns) <= PIPE_LINES
    assert {line.invocation for line in log.lines} == {"a"}, "taken late, they are still of the call that wrote them"


async def test_one_that_writes_little_does_not_wait_for_those_that_flood() -> None:
    turns = LogTurns(lambda line: told.append(line.function))
    told: list[str] = []
    with contextlib.ExitStack() as stack:
        floods = [stack.enter_context(_pipe_of(turns, f"flood-{number}")) for number in range(5)]
        modest = stack.enter_context(_pipe_of(turns, "modest"))
        for flood in floods:
            os.write(flood, b"\n" * 60_000)
        os.write(modest, b"me\n")
        await asyncio.sleep(0)
        handled = []
        while "modest" not in told:
            before = len(told)
            await asyncio.sleep(0)
            handled.append(len(told) - before)
        assert max(handled) <= TURN_LINES
        assert len(told) < 8 * TURN_LINES, "its turn comes after one round of all, not after all of theirs"
        turns.finish()
    assert {name: told.count(name) for name in set(told)} == {f"flood-{n}": 60_000 for n in range(5)} | {"modest": 1}


@contextlib.contextmanager
def _pipe_of(turns: LogTurns, function: str) -> Iterator[int]:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    pipe = LogPipe(read_end, function, function, 10**9, turns)
    try:
        yield write_end
    finally:
        os.close(write_end)
        pipe.close()


async def test_lines_that_wait_when_all_ends_are_not_lost() -> None:
    with open_log(limit_bytes=10**9) as log:
        os.write(log.write_end, b"\n" * (PIPE_LINES + 10))
    assert len(log.lines) == PIPE_LINES
    log.turns.finish()
    assert len(log.lines) == PIPE_LINES + 10
