"""`forklight undeploy`: takes an application from a server."""

from typing import Any

import click

from forklight.commands.releasing import change_options, changed


@click.command(short_help="Take an application from the server.")
@change_options
def undeploy(**options: Any) -> int:
    """Remove an application and all of its versions. What runs or waits is finished first.

    Its data folder, its secrets and the messages in its queues stay on the server.

    \b
    Examples:
      forklight undeploy --name shop --to https://example.com:9090
    """
    change = changed("POST", "remove", {}, **options)
    return change.tell("removed")
