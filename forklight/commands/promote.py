"""`forklight promote`: has the canary serve all events."""

from typing import Any

import click

from forklight.commands.releasing import change_options, changed


@click.command(short_help="Serve all events with the canary.")
@change_options
def promote(**options: Any) -> int:
    """Switch to the version that serves as a canary.

    \b
    Examples:
      forklight promote
      forklight promote --name shop --to https://example.com:9090
    """
    change = changed("POST", "promote", {}, **options)
    was = change.before.live
    back = (f"to go back: {change.command('rollback', str(was))}",) if was else ()
    return change.tell(
        f"version {change.done.version} serves all events, before it version {was}, {change.took}", *back
    )
