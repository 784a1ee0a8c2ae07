"""Standard streams, logging and warnings of a template, in a process with descriptors from the test."""

import json
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.guest import GUEST, PROCESS_TIMEOUT_S, run_guest

SET_UP = "from _forklight import logs; logs.set_up()\n"


def test_print_and_logging_reach_the_descriptors(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP + "import logging\n"
        "print('grün', '\\ud800'); logging.getLogger('shop').info('sold %d', 3); logging.getLogger('x').debug('no')\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "grün \\ud800\n"
    assert done.stderr == "\x1e1INFO shop: sold 3\n"


def _records(stderr: str) -> list[Any]:
    """(level, text or the dict of the JSON) of each line; the level of a line without a mark is None."""
    found: list[Any] = []
    for line in stderr.split("\n")[:-1]:
        marked = line.startswith("\x1e")
        level, text = (int(line[1]), line[2:]) if marked else (None, line)
        found.append((level, json.loads(text[1:]) if text.startswith("\x1e") else text))
    return found


def test_a_record_has_its_level_and_is_one_line_whatever_lines_it_has(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP + "import logging; log = logging.getLogger(); log.setLevel(1)\n"
        "for level in (5, 10, 29, 30, 40, 50, 99): log.log(level, 'a\\nb')\n"
        "log.error('\x1e0x')",
        tmp_path,
    )
    records = _records(done.stderr)
    assert [level for level, _ in records] == [0, 0, 1, 2, 3, 4, 4, 3]
    assert records[1][1] == {"text": "DEBUG root: a\nb"}
    assert records[-1][1] == "ERROR root: \x1e0x"


def test_a_traceback_is_part_of_its_record(tmp_path: Path) -> None:
    done = run_guest(SET_UP + "import logging\ntry: 1 / 0\nexcept Exception: logging.exception('no\\nway')\n", tmp_path)
    [(level, record)] = _records(done.stderr)
    assert (level, record["text"]) == (3, "ERROR root: no\nway")
    assert record["traceback"].startswith("Traceback (most recent call last):\n")
    assert record["traceback"].endswith("ZeroDivisionError: division by zero")


def test_extra_comes_along_whatever_it_is(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP + "import datetime, logging\n"
        "class Bad:\n"
        "    def __repr__(self): raise RuntimeError('no')\n"
        "circle = []; circle.append(circle)\n"
        "logging.info('a', extra={'order': 7, 'on': datetime.date(2026, 1, 2), 'tags': {'x'}})\n"
        "logging.info('b', extra={'bad': Bad(), 'circle': circle, 'nan': float('nan'), 'odd': object,"
        " 'lone': '\\ud800'})\n"
        "logging.info('c', extra={'long': 'x' * 10**6})\n"
        "logging.info('d', extra={f'name{n}': 'x' * 1000 for n in range(1000)})\n",
        tmp_path,
    )
    first, second, third, fourth = [record["extra"] for _, record in _records(done.stderr)]
    assert first == {"order": 7, "on": "2026-01-02", "tags": ["x"]}
    shown = {
        "bad": "(its __repr__ raised RuntimeError)",
        "circle": "[[...]]",
        "nan": "nan",
        "odd": "<class 'object'>",
        "lone": "\\ud800",
    }
    assert second == shown
    assert third == {"long": "x" * 500}
    assert fourth == {"left_out": 1000}


def test_extra_is_left_out_only_of_what_a_formatter_made_json(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP + "import logging; logging.basicConfig(format='%(message)s', level='INFO')\n"
        "for text in ('{\"a\": 1}', '{sold} out', '{', '{\"a\": 1} and more', '[' * 10**5, '{\"a\":' * 10**4):\n"
        "    logging.info(text, extra={'order': 7})\n",
        tmp_path,
    )
    whole, *others = [record for _, record in _records(done.stderr)]
    assert whole == '{"a": 1}'
    assert [record["extra"] for record in others] == [{"order": 7}] * 5


def test_a_record_is_never_cut_in_two(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP + "import logging\n"
        "try: raise ValueError('\\x00' * 100_000)\n"
        "except ValueError: logging.exception('\\x01\\n' * 100_000, extra={'a': 'ü' * 100_000, 'b': '\\x02' * 400})\n",
        tmp_path,
    )
    [line, _] = done.stderr.split("\n")
    assert len(line.encode()) < 64 * 1024
    [(_, record)] = _records(done.stderr)
    assert set(record) == {"text", "traceback", "extra"}


CONSOLE = {"h": {"class": "logging.StreamHandler"}}
CONFIGURED = [
    # the author's set-up, and then the lines of an info and a warning of the author's logger and an info of context.log
    ("", ["INFO own: i", "WARNING own: w", "INFO fn: c"]),
    ("logging.basicConfig(format='mine %(message)s')", ["mine i", "mine w", "mine c"]),
    ("logging.basicConfig(level=logging.WARNING)", ["WARNING:own:w"]),
    (
        "logging.basicConfig(); logging.basicConfig(format='second %(message)s')",
        ["INFO:own:i", "WARNING:own:w", "INFO:fn:c"],
    ),
    ("logging.basicConfig(force=True, format='mine %(message)s')", ["mine i", "mine w", "mine c"]),
    ("logging.basicConfig(handlers=[logging.StreamHandler(sys.stderr)])", ["INFO:own:i", "WARNING:own:w", "INFO:fn:c"]),
    ("logging.getLogger().addHandler(logging.StreamHandler())", ["i", "w", "c"]),
    ("logging.getLogger().handlers[:] = []", ["INFO own: i", "WARNING own: w", "INFO fn: c"]),
    ("logging.shutdown()", ["INFO own: i", "WARNING own: w", "INFO fn: c"]),
    ("logging.getLogger('own').addHandler(logging.NullHandler())", ["INFO own: i", "WARNING own: w", "INFO fn: c"]),
    ("logging.config.dictConfig({'version': 1})", ["INFO fn: c"]),
    (
        "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False})",
        ["INFO own: i", "WARNING own: w", "INFO fn: c"],
    ),
    ("logging.config.dictConfig({'version': 1, 'root': {'level': 'INFO'}})", ["INFO fn: c"]),
    (
        f"logging.config.dictConfig({{'version': 1, 'handlers': {CONSOLE}, 'root': {{'handlers': ['h']}}}})",
        ["c"],
    ),
    ("logging.config.dictConfig({'version': 1, 'loggers': {'fn': {'level': 'ERROR'}}})", []),
    ("sys.stderr.close()", ["INFO own: i", "WARNING own: w", "INFO fn: c"]),
]


@pytest.mark.parametrize(("does", "logged"), CONFIGURED)
def test_what_an_author_sets_up_counts_as_in_a_program_of_ones_own(
    does: str, logged: list[str], tmp_path: Path
) -> None:
    done = run_guest(
        SET_UP + "from _forklight import loggers\n"
        "import logging, logging.config, sys; own = logging.getLogger('own'); context = loggers.never_disabled('fn')\n"
        f"{does}\n"
        "own.info('i'); own.warning('w'); context.info('c')",
        tmp_path,
    )
    assert [text for _, text in _records(done.stderr)] == logged
    assert all(level in (1, 2) for level, _ in _records(done.stderr)), "a level, whoever has formatted it"


def test_a_wrong_configuration_leaves_the_log(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP
        + "import logging\ntry: logging.basicConfig(style='nonsense')\nexcept ValueError: logging.info('still here')",
        tmp_path,
    )
    assert _records(done.stderr) == [(1, "INFO root: still here")]


def test_streams_of_the_authors_get_what_he_formats(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP + "import io, logging\n"
        "own = io.StringIO(); logging.basicConfig(stream=own); logging.warning('a\\nb'); print(repr(own.getvalue()))\n"
        "plain = logging.StreamHandler(sys.stdout); plain.terminator = ';'; logging.root.handlers = [plain]\n"
        "logging.warning('part'); print()",
        tmp_path,
    )
    assert done.stdout == "'WARNING:root:a\\nb\\n'\npart;\n"


def test_a_line_that_was_begun_is_not_cut_by_a_record(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP + "import logging; logging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
        "print('be', end=''); logging.info('record'); print('gun')",
        tmp_path,
    )
    assert done.stdout == "\x1e1record\nbegun\n"


def test_the_level_comes_from_the_configuration(tmp_path: Path) -> None:
    script = "from _forklight import logs; logs.set_up('{}'); import logging; logging.debug('d'); logging.error('e')"
    assert [text for _, text in _records(run_guest(script.format("debug"), tmp_path).stderr)] == [
        "DEBUG root: d",
        "ERROR root: e",
    ]
    assert run_guest(script.format("critical"), tmp_path).stderr == ""


def test_a_terminal_shows_no_levels_of_ours() -> None:
    ours, theirs = pty.openpty()
    script = f"import sys; sys.path.insert(0, {str(GUEST)!r})\n{SET_UP}import logging; logging.warning('careful')"
    try:
        subprocess.run([sys.executable, "-I", "-B", "-c", script], stderr=theirs, check=True, timeout=PROCESS_TIMEOUT_S)
        assert os.read(ours, 1000) == b"WARNING root: careful\r\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_warnings_are_shown(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP + "import logging, logging.config, warnings; logging.captureWarnings(True)\n"
        "warnings.warn('old stuff'); logging.config.dictConfig({'version': 1}); warnings.warn('older stuff')",
        tmp_path,
    )
    first, second = _records(done.stderr)
    assert (first[0], first[1].startswith("WARNING py.warnings: ")) == (2, True)
    assert "UserWarning: old stuff" in first[1]
    assert "UserWarning: older stuff" in second[1]


def test_standard_input_is_empty(tmp_path: Path) -> None:
    done = run_guest(SET_UP + "print(repr(sys.stdin.read()), sys.stdin.fileno())", tmp_path)
    assert done.stdout == "'' 0\n"


def test_a_line_is_written_at_once_and_whole() -> None:
    """Otherwise lines of several threads and processes could mix. A SEQPACKET socket keeps single writes apart."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line = "x" * 50_000
    script = f"import sys; sys.path.insert(0, {str(GUEST)!r})\n{SET_UP}"
    script += f"print('a', 'b', sep='-'); print({line!r}); print('no end', end=''); logs.flush()"
    with ours, theirs:
        subprocess.run(
            [sys.executable, "-I", "-B", "-c", script], stdout=theirs.fileno(), check=True, timeout=PROCESS_TIMEOUT_S
        )
        theirs.close()
        packets = []
        while packet := ours.recv(100_000):
            packets.append(packet.decode())
    assert packets == ["a-b\n", line + "\n", "no end"]


def test_flush_survives_what_the_author_did_to_the_streams(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP + "import logging, os, sys\n"
        "print('kept', end=''); logs.flush()\n"
        "sys.stdout.close(); logs.flush()\n"
        "sys.stderr.close(); logging.warning('still logged')\n"
        "class Broken:\n"
        "    def flush(self): raise RuntimeError('no')\n"
        "sys.stdout = Broken(); logs.flush()\n"
        "sys.stdout = None; logs.flush()\n"
        "os.write(1, b', and the descriptor is open')",
        tmp_path,
    )
    assert done.stdout == "kept, and the descriptor is open"
    assert done.stderr == "\x1e2WARNING root: still logged\n"


FORKED = """
import os, threading
from _forklight import logs
reading, writing = os.pipe()
stream = logs.line_stream(writing)
thread = threading.Thread(target=stream.write, args=("x" * 1_000_000 + "\\n",), daemon=True)
thread.start()
os.read(reading, 1)  # so the thread is in the middle of its write
if (child := os.fork()) == 0:
    print("of the child", file=stream)
    os._exit(0)
found = b""
while b"of the child\\n" not in found:
    found = found[-100:] + os.read(reading, 65536)
print(os.waitpid(child, 0)[1])
"""


def test_a_child_forked_while_a_thread_prints_can_print(tmp_path: Path) -> None:
    assert run_guest(FORKED, tmp_path).stdout.strip() == "0"
