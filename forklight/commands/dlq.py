"""`forklight dlq`: lists dead letters, shows them, sends them back, removes them."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec

from forklight.admin.client import get, post
from forklight.admin.dead_letter_queues import Moved, Selection
from forklight.admin.dead_letters import DeadLetter, Shown
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.commands.tables import print_table
from forklight.observe.terminal import plain_lines, say, say_json
from forklight.plain import plain

_HEADINGS = ("ID", "QUEUE", "FUNCTION", "DIED", "ATTEMPTS", "REASON", "ERROR")
_ERROR_WIDTH = 60

_queue = click.option(
    "--queue", metavar="QUEUE", help="Only those that came from this queue (orders, orders@shop) or are in it."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(short_help="List, show, replay or remove dead letters.")
def dlq() -> None:
    """Manage dead letters: messages that failed too often, or could never succeed.

    \b
    Examples:
      forklight dlq list
      forklight dlq show 3f2a
      forklight dlq replay --queue orders
      forklight dlq purge --all
    """


@dlq.command("list")
@_queue
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many at most.")
@click.option("--skip", type=click.IntRange(0, 100_000), default=0, help="How many to leave out first.")
@config_option
@state_option
@_json
def list_(*, queue: str | None, limit: int, skip: int, path: Path, state: Path | None, as_json: bool) -> int:
    """List dead letters, the oldest of each queue first, and say if there are more.

    \b
    Examples:
      forklight dlq list
      forklight dlq list --queue orders --json | jq '.[].last_error'
      forklight dlq list --skip 100
    """
    query = [("limit", str(limit + 1)), ("skip", str(skip)), *([("queue", queue)] if queue is not None else [])]
    with asked():
        answer = get(state_of(path, state), "/dlq", query, timeout_s=None)
    letters = msgspec.json.decode(answer, type=list[DeadLetter])
    shown = letters[:limit]
    if as_json:
        say_json(msgspec.json.encode(shown))
    else:
        print_table(_HEADINGS, [_row(letter) for letter in shown])
    if not letters and not as_json:
        say("no dead letters" if not skip else "no more dead letters", err=True)
    if len(letters) > limit:
        say(f"there are more: --skip {skip + limit} shows the next, --limit more at once", err=True)
    return 0


@dlq.command()
@click.argument("letter", metavar="ID")
@_queue
@config_option
@state_option
@_json
def show(letter: str, queue: str | None, path: Path, state: Path | None, as_json: bool) -> int:
    """Show one dead letter: why it died, its headers, its body. The beginning of an id is enough if no other has it.

    \b
    Examples:
      forklight dlq show 3f2a
      forklight dlq show order-7 --queue orders --json | jq .headers
    """
    if not letter:
        raise click.UsageError("say which: an id, or its beginning")
    query = [("queue", queue)] if queue is not None else []
    with asked():
        answer = get(state_of(path, state), f"/dlq/{quote(letter)}", query, timeout_s=None)
    if as_json:
        say_json(answer)
    else:
        say("\n".join(_lines(msgspec.json.decode(answer, type=Shown))))
    return 0


def _selecting(command: Callable[..., int]) -> Callable[..., int]:
    """Add the arguments of a command that acts on some letters, or on all."""
    everything = click.option("--all", "everything", is_flag=True, help="All dead letters of all queues.")
    ids = click.argument("ids", nargs=-1, metavar="[ID]...")
    for option in (_json, state_option, config_option, everything, _queue, ids):
        command = option(command)
    return command


@dlq.command()
@_selecting
def replay(**options: Any) -> int:
    """Send dead letters back to the queues they came from. Their attempts start at 1 again.

    \b
    Examples:
      forklight dlq replay 3f2a order-7
      forklight dlq replay --queue orders
      forklight dlq replay --all
    """
    return _act("replay", "replayed", **options)


@dlq.command()
@_selecting
def purge(**options: Any) -> int:
    """Remove dead letters for good, without asking.

    \b
    Examples:
      forklight dlq purge 3f2a
      forklight dlq purge --queue orders.dead
      forklight dlq purge --all
    """
    return _act("purge", "removed", **options)


def _act(
    verb: str,
    done: str,
    *,
    ids: tuple[str, ...],
    queue: str | None,
    everything: bool,
    path: Path,
    state: Path | None,
    as_json: bool,
) -> int:
    try:
        selection = Selection(ids=ids, queue=queue, all=everything)
    except ValueError:
        raise click.UsageError(f"say what to {verb}: ids, --queue QUEUE, or --all alone") from None
    body = msgspec.json.encode(selection)
    with asked():
        answer = post(state_of(path, state), f"/dlq/{verb}", body, "application/json", timeout_s=None)
    moved = msgspec.json.decode(answer, type=Moved)
    if as_json:
        say_json(answer)
    else:
        say(f"{done}: {moved.moved}")
    if moved.left:
        say(f"left: {moved.left} that do not say which queue they came from", err=True)
    return 1 if moved.left else 0


def _row(letter: DeadLetter) -> tuple[str, ...]:
    error = " ".join(letter.last_error.split())
    return (
        letter.id,
        letter.queue or letter.dead_letter,
        letter.function or "-",
        _clock(letter.died_at_s),
        "-" if letter.attempts is None else str(letter.attempts),
        letter.reason or "-",
        error if len(error) <= _ERROR_WIDTH else error[: _ERROR_WIDTH - 1] + "…",
    )


def _lines(shown: Shown) -> list[str]:
    letter = shown.letter
    facts = {
        "id": letter.id,
        "lies in": f"{letter.dead_letter} (key {letter.key})",
        "came from": letter.queue,
        "function": letter.function,
        "reason": letter.reason,
        "attempts": "" if letter.attempts is None else str(letter.attempts),
        "died": "" if letter.died_at_s is None else _clock(letter.died_at_s),
        "first error": letter.first_error,
        "last error": letter.last_error if letter.last_error != letter.first_error else "",
        "correlation id": shown.correlation_id or "",
        "reply to": shown.reply_to or "",
        "content type": letter.content_type or "",
        "size": f"{letter.size_bytes} bytes",
    }
    headers = {f"header {plain(name)}": str(value) for name, value in sorted(shown.headers.items())}
    told = {name: text for name, text in (facts | headers).items() if text}
    width = max(map(len, told))
    margin = " " * (width + 2)
    rest = [] if shown.is_whole else ["… (this is the beginning)"]
    return [*(f"{name:{width}}  {plain_lines(text, margin)}" for name, text in told.items()), "", shown.body, *rest]


def _clock(at_s: float | None) -> str:
    return "-" if at_s is None else datetime.fromtimestamp(at_s).astimezone().isoformat(timespec="seconds")
