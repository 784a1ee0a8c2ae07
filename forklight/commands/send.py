"""`forklight send`: sends a message to a queue; it is stored when the command ends."""

from pathlib import Path

import click
import msgspec

from forklight.admin.client import post
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.commands.body_option import data_option, file_option, read_body
from forklight.observe.terminal import say, say_json


@click.command(short_help="Send a message to a queue.")
@click.argument("queue")
@data_option
@file_option
@click.option("--delay", metavar="DURATION", help="Deliver it no sooner than this: 10s, 1h30m.")
@click.option("--id", "message_id", metavar="ID", help="The message's id, by which receivers recognize duplicates.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header. May be given several times.")
@config_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print what was stored as one JSON object.")
def send(
    *,
    queue: str,
    data: str | None,
    file: str | None,
    delay: str | None,
    message_id: str | None,
    headers: tuple[str, ...],
    path: Path,
    state: Path | None,
    as_json: bool,
) -> int:
    """Send a message to QUEUE, or to QUEUE@BROKER for a queue of [brokers.BROKER]. It is stored when the command ends.

    \b
    Examples:
      forklight send uploads -f photo.jpg
      forklight send orders -d '{"order": 7}' --id order-7 --header tenant=acme
      forklight send reminders -d '"call Ada"' --delay 1h30m
      forklight send orders@shop -d '{"order": 7}'
    """
    body, content_type = read_body(data, file)
    query = [("queue", queue), *(("header", header) for header in headers)]
    query += [(name, value) for name, value in (("delay", delay), ("id", message_id)) if value is not None]
    with asked():
        answer = post(state_of(path, state), "/send", body, content_type, query=query)
    stored = msgspec.json.decode(answer)
    if not stored["consumers"]:
        say(f"warning: no function here consumes {stored['queue']!r}{stored['hint']}", err=True)
    if as_json:
        say_json(answer)
    else:
        say(f"stored in {stored['queue']}: {stored['id']}")
    return 0
