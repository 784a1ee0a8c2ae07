"""`forklight invoke`: runs a function once, on the running server or in processes of its own."""

import os
from pathlib import Path
from urllib.parse import quote

import anyio
import click

from bus import Event, Failed, Ok, Outcome
from bus.invocation import Invocation, Reporter
from forklight.admin.client import post
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.commands.body_option import data_option, file_option, read_body
from forklight.config.configuration import load
from forklight.config.hint import did_you_mean
from forklight.observe.terminal import say, say_bytes, say_json
from forklight.serving.invoking import cli_event, outcome_as_json, outcome_from_json
from forklight.state.directory import state_path

_SECTIONS = ("'http'", "'queue'", "'timer'")
"""The KeyErrors of a handler that was written for another trigger."""


@click.command(short_help="Run a function once and print what it returns.")
@click.argument("name")
@data_option
@file_option
@click.option("--timer", is_flag=False, flag_value="", metavar="[TIMER]", help="Fire a timer of the function, now.")
@click.option("--here", is_flag=True, help="Run the function in processes of its own, without a server.")
@config_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole outcome as one JSON object.")
def invoke(
    *,
    name: str,
    data: str | None,
    file: str | None,
    timer: str | None,
    here: bool,
    path: Path,
    state: Path | None,
    as_json: bool,
) -> int:
    """Run the function NAME once, on the running server, and print what it returns.

    With --here, what other functions lack (secrets, files, runtimes) does not matter.

    \b
    Examples:
      forklight invoke total -d '{"numbers": [1, 2, 3]}'
      forklight invoke thumbnail -f photo.jpg > small.jpg
      forklight invoke report --timer                the function's only timer
      forklight invoke digest --timer weekly --json
      forklight invoke total --here -d '{"numbers": [1, 2, 3]}'
      forklight invoke hello --here -c hello.py --json
      cat order.json | forklight invoke orders -f -
    """
    if timer is not None and (data is not None or file is not None):
        raise click.UsageError("a timer's event has no body: leave out -d and -f, or --timer")
    if timer is not None and here:
        raise click.UsageError("timers belong to a running server: leave out --here, or --timer")
    body, content_type = read_body(data, file)
    printer = _Printer(name, as_json=as_json)
    if here:
        _run_here(path, cli_event(name, body, content_type), state, printer.report)
    else:
        resource = f"/invoke/{quote(name, safe='')}"
        query = [("timer", timer)] if timer is not None else []
        with asked("; or run the function without a server: --here"):
            answer = post(state_of(path, state), resource, body, content_type, query=query, timeout_s=None)
        printer.show(outcome_from_json(answer))
    return 0 if printer.is_ok else 1


class _Printer:
    """Prints the outcome of the event, and records whether it was ok."""

    def __init__(self, name: str, *, as_json: bool) -> None:
        self.is_ok = False
        self._name = name
        self._as_json = as_json

    def report(self, invocation: Invocation) -> None:
        """Print what is reported, as the journal does in a server."""
        if invocation.outcome is not None:
            self.show(invocation.outcome)

    def show(self, outcome: Outcome) -> None:
        self.is_ok = isinstance(outcome, Ok)
        if self._as_json:
            say_json(outcome_as_json(outcome))
        else:
            _print(self._name, outcome)


def _run_here(path: Path, event: Event, state: Path | None, reporter: Reporter) -> None:
    from forklight.serving.once import invoke_here

    name = event.function or ""
    config = load(path, os.environ, state, only=name)
    if name not in config.functions:
        hint = did_you_mean(name, config.settings.functions)
        raise click.UsageError(f"there is no function {name!r} in {config.path}{hint}")
    for warning in config.warnings:
        say(f"warning: {warning}", err=True)
    place = state_path(state, os.environ, config.path)
    anyio.run(invoke_here, config, event, place, reporter, backend_options={"use_uvloop": True})


def _print(name: str, outcome: Outcome) -> None:
    if isinstance(outcome, Failed):
        say(f"{name}: {outcome.kind}/{outcome.code}: {outcome.message}", err=True)
        if outcome.traceback:
            say(outcome.traceback.rstrip("\n"), err=True)
        if outcome.code == "KeyError" and outcome.message in _SECTIONS:
            say(f"hint: what is invoked is a call: its event has `call`, and no {outcome.message}", err=True)
        return
    say_bytes(outcome.body)
