"""`invoke NAME --here`: a process tree for one event, without a server; nothing of it stays."""

import contextlib
import os
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from bus import Failed, Outcome
from forklight.config.configuration import Config
from forklight.observe.terminal import coloured, say_lines
from forklight.serving.invoking import cli_event
from forklight.serving.versions import make_guest, make_versions
from forklight.state.directory import open_here
from forklight.state.users import User
from sandbox.errors import LoadFailed, StartFailed
from sandbox.launch import Account
from sandbox.log_lines import LogLine
from sandbox.tree import open_tree

UNHURRIED_S = 24 * 3600.0
"""Every time limit at a terminal: whoever debugs thinks for as long as it takes."""


async def invoke_here(config: Config, name: str, body: bytes, content_type: str | None, state_path: Path) -> Outcome:
    """Run the function `name` of `config` once, in an instance forked from its template.

    It reads our standard input. At a terminal it writes there too, and has no time limit, so that `breakpoint()` works;
    else its log goes to standard error. Raises ConfigError if its code cannot be taken, StateError if the state
    directory cannot be used; whatever goes wrong later is the outcome.
    """
    alone = replace(config, functions={name: config.functions[name]})
    with open_here(state_path, config.user) as state, _terminal_as_it_was() as has_terminal:
        spec = make_versions(alone, state)[name]
        if has_terminal:
            spec = replace(spec, timeout_s=UNHURRIED_S, init_timeout_s=UNHURRIED_S)
        guest = make_guest(alone, state)
        async with open_tree(
            guest=guest,
            folders=state.tmp,
            sink=_print,
            account=account_of(config.user),
            shares_input=sys.stdin is not None,  # else descriptor 0 is closed, or somebody else's
        ) as tree:
            try:
                instance, start = await tree.start(spec)
            except LoadFailed as error:
                return Failed(kind="load", code=error.code, message=error.message, traceback=error.traceback)
            except StartFailed as error:
                return Failed(kind="throttled", code="MachineMemory", message=str(error))
            return await instance.invoke(cli_event(name, body, content_type), start=start)


@contextlib.contextmanager
def _terminal_as_it_was() -> Iterator[bool]:
    """Whether there is a terminal. A debugger that is killed while it edits a line would leave it without an echo."""
    if not os.isatty(0):
        yield False
        return
    before = termios.tcgetattr(0)
    try:
        yield True
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def account_of(user: User | None) -> Account | None:
    """Whom the processes below the dispatcher run as; None is the user of this process."""
    return None if user is None else Account(user.uid, user.gid, switch=True)


def _print(line: LogLine) -> None:
    if not line.instance:  # what befell no instance is why none could be started: the outcome says so
        return
    say_lines(coloured(line.whole, colour=sys.stderr.isatty()), err=True)
