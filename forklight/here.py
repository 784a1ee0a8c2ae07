"""`invoke NAME --here`: a process tree for one event, without a server; nothing of it stays."""

import sys
from pathlib import Path

from msgspec.structs import replace

from bus import Failed, Outcome
from forklight.config import Config
from forklight.invoking import cli_event
from forklight.state import open_here
from forklight.users import User
from forklight.versions import make_guest, make_versions
from sandbox.errors import LoadFailed, StartFailed
from sandbox.launch import Account
from sandbox.logs import LogLine
from sandbox.tree import open_tree


async def invoke_here(config: Config, name: str, body: bytes, content_type: str | None, state_path: Path) -> Outcome:
    """Run the function `name` of `config` once, in an instance forked from its template.

    Its log goes to standard error. Raises ConfigError if its code cannot be taken, StateError if the state directory
    cannot be used; whatever goes wrong later is the outcome.
    """
    alone = replace(config, functions={name: config.functions[name]})
    with open_here(state_path, config.user) as state:
        spec = make_versions(alone, state)[name]
        guest = make_guest(alone, state)
        async with open_tree(guest=guest, folders=state.tmp, sink=_print, account=account_of(config.user)) as tree:
            try:
                instance, start = await tree.start(spec)
            except LoadFailed as error:
                return Failed(kind="load", code=error.code, message=error.message, traceback=error.traceback)
            except StartFailed as error:
                return Failed(kind="throttled", code="MachineMemory", message=str(error))
            return await instance.invoke(cli_event(name, body, content_type), start=start)


def account_of(user: User | None) -> Account | None:
    """Whom the processes below the dispatcher run as; None is the user of this process."""
    return None if user is None else Account(user.uid, user.gid, switch=True)


def _print(line: LogLine) -> None:
    print(line.text, file=sys.stderr, flush=True)  # noqa: T201  standard error is where a one-shot's log belongs
