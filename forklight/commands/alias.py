"""`forklight alias`: gives a version a name."""

from typing import Any
from urllib.parse import quote

import click

from forklight.commands.releasing import change_options, changed


@click.command(short_help="Give a version a name.")
@click.argument("alias")
@click.argument("version", required=False)
@click.option("--remove", is_flag=True, help="Remove the alias.")
@change_options
def alias(alias: str, version: str | None, *, remove: bool, **options: Any) -> int:
    """Let ALIAS name a version. It can then be rolled back to by that name, and is kept however old it becomes.

    VERSION is a number, or another alias.

    \b
    Examples:
      forklight alias stable 6
      forklight alias stable --remove
    """
    if (version is None) != remove:  # both or neither
        raise click.UsageError("say which version it names, or --remove")
    resource = f"aliases/{quote(alias, safe='')}"
    if version is None:
        return changed("DELETE", resource, {}, **options).tell(f"the alias {alias} is removed")
    change = changed("PUT", resource, {"version": version}, **options)
    number = change.before.aliases.get(version, version)
    return change.tell(f"{alias} is version {number}")
