"""Standard streams, logging and warnings of a template, in a process whose descriptors are what the test made them."""

import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

from .support import GUEST, PROCESS_TIMEOUT_S, run_guest

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


def test_each_line_of_a_record_begins_with_its_level(tmp_path: Path) -> None:
    done = run_guest(
        SET_UP + "import logging; log = logging.getLogger(); log.setLevel(1)\n"
        "for level in (5, 10, 29, 30, 40, 50, 99): log.log(level, 'a\\nb')\n",
        tmp_path,
    )
    assert [line[:2] for line in done.stderr.split("\n")[:-1]] == [f"\x1e{digit}" for digit in "00001122334444"]


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
    done = run_guest(SET_UP + "import warnings; warnings.warn('old stuff')", tmp_path)
    assert "WARNING py.warnings: " in done.stderr
    assert "UserWarning: old stuff" in done.stderr


def test_standard_input_is_empty(tmp_path: Path) -> None:
    done = run_guest(SET_UP + "print(repr(sys.stdin.read()), sys.stdin.fileno())", tmp_path)
    assert done.stdout == "'' 0\n"


def test_a_line_is_written_at_once_and_whole() -> None:
    """So that lines of several threads and processes do not mix; this kind of socket keeps writes apart."""
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
