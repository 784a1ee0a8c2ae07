"""`forklight reload`: has the running server read its configuration and code again, without dropping anything."""

from pathlib import Path

import click
import msgspec

from forklight.admin.client import post
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.observe.terminal import say, say_json
from forklight.serving.reloaded import ReloadResult, lines


@click.command(short_help="Make the running server read configuration and code again.")
@config_option
@state_option
@click.option("--all", "renew_all", is_flag=True, help="Renew also functions that do not use what has changed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def reload(path: Path, state: Path | None, renew_all: bool, as_json: bool) -> int:
    """Make the running server read its configuration and code again, as SIGHUP does.

    Either everything is switched or nothing: if a function does not load or a key is wrong, nothing changes. A function
    that uses no file that has changed keeps its processes.

    \b
    Examples:
      forklight reload
      forklight reload -c app/
      forklight reload --json | jq .changed
    """
    with asked():
        query = [("all", "1")] if renew_all else []
        answer = post(state_of(path, state), "/reload", b"", None, query=query, timeout_s=None)
    told = msgspec.json.decode(answer, type=ReloadResult)
    if as_json:
        say_json(answer)
    else:
        for line in lines(told):
            say(line, err=not told.ok)
    return 0 if told.ok else 2 if told.problems else 1
