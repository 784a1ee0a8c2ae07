"""`forklight abort`: ends a canary."""

from typing import Any

import click

from forklight.commands.releasing import change_options, changed


@click.command(short_help="End the canary: the live version serves all events again.")
@click.option("--reason", default="", metavar="TEXT", help="What forklight versions shows of it.")
@change_options
def abort(reason: str, **options: Any) -> int:
    """Serve all events with the live version again. Calls that run on the canary finish there.

    \b
    Examples:
      forklight abort
      forklight abort --reason "the totals are wrong"
    """
    change = changed("POST", "abort", {"reason": reason} if reason else {}, **options)
    was = change.before.canary
    return change.tell(f"version {change.before.live} serves all events again, the canary was version {was}")
