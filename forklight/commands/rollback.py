"""`forklight rollback`: goes back to a version that is kept."""

from typing import Any

import click

from forklight.commands.releasing import change_options, changed


@click.command(short_help="Go back to the version before, or to another one that is kept.")
@click.argument("version", required=False)
@change_options
def rollback(version: str | None, **options: Any) -> int:
    """Switch to the version that served before, or to VERSION: a number, or an alias.

    Its code and templates are still there, so it takes milliseconds. Calls that run finish on the version on which they
    began. A canary ends.

    \b
    Examples:
      forklight rollback
      forklight rollback 6 --to https://example.com:9090
      forklight rollback stable
    """
    change = changed("POST", "rollback", {} if version is None else {"version": version}, **options)
    done, was = change.done, change.before.live
    if done.already:
        return change.tell(f"version {done.version} serves already")
    if done.version == was and change.before.canary:
        promoted = change.command("rollback", str(change.before.canary))
        ended = f"version {was} serves all events again, the canary was version {change.before.canary}"
        return change.tell(f"{ended}, {change.took}", f"to serve all events with that: {promoted}")
    again = change.command("rollback", str(was)) if was else ""
    ways = (f"to undo it: {again}",) if again else ()
    return change.tell(f"version {done.version} serves again, before it version {was}, {change.took}", *ways)
