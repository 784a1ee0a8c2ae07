"""`forklight check`: reports problems of a configuration and its code, and with --load, whether each function loads."""

import os
from collections.abc import Sequence
from pathlib import Path

import anyio
import click
import msgspec

from forklight.checking import check as checks
from forklight.commands.rows import listed, rehearsal_notes
from forklight.config.configuration import Config
from forklight.config.problem import ConfigError, Problem
from forklight.observe.terminal import say, say_json
from forklight.serving.once import Load, load_all
from forklight.serving.reloaded import some_of
from forklight.state.directory import state_path
from sandbox.loading import HELD_MEANS

_REMEDY = "what the after_fork hook opens is each instance's own"


@click.command(short_help="Find the problems of a configuration and its code.")
@click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")
@click.option("--load", "with_load", is_flag=True, help="Also import every function, as a server would.")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state directory.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: ok, functions, problems, warnings, loads."
)
def check(path: Path, with_load: bool, state: Path | None, as_json: bool) -> int:
    """Check a configuration and the code of its functions, without running any of it unless --load is given.

    The code is read: modules with syntax errors, and handlers and hooks that do not exist or cannot be called as
    Forklight calls them, are problems. The exit status is 2 if there is any problem, and 1 if a function does not load.

    With --load, each function is imported in a process of its own and its init hook runs. The output shows how long
    that takes and what the import leaves behind: threads, open files and sockets, held locks, and generators of random
    numbers. The check fails if one does not load.

    \b
    Examples:
      forklight check                  the forklight.toml of this directory
      forklight check app/             that of another directory
      forklight check hello.py         a single file needs no configuration
      forklight check --load           also import every function
      forklight check --json | jq .problems
    """
    try:
        checked = checks.check(path, os.environ, state)
        loads = _loads(checked.config, state) if with_load else []
    except ConfigError as error:
        if not as_json:
            raise
        _print_json(False, [], error.problems, [], [])
        return 2
    problems, warnings = _apart(checked, loads)
    is_loaded = all(load.ok for load in loads)
    if as_json:
        functions = [] if problems and not loads else sorted(checked.config.functions)
        _print_json(is_loaded and not problems, functions, problems, warnings, loads)
    else:
        _print(sorted(checked.config.functions), warnings, problems, loads)
    if not is_loaded:
        return 1
    return 2 if problems else 0


def _apart(checked: checks.Checked, loads: list[Load]) -> tuple[list[Problem], list[Problem]]:
    """Return the problems of the code and the warnings.

    A load knows better whether a handler exists, but not that a module is broken which a handler imports as it runs.
    Where the module is may help if it was not found.
    """
    failed = {load.function for load in loads if not load.ok}
    problems, warnings = set[Problem](), set(checked.warnings)
    for fault in checked.faults:
        if not loads or (fault.kind == "syntax" and not fault.functions & failed):
            problems.add(fault.problem)
        elif fault.kind == "module" and fault.functions & failed:
            warnings.add(fault.problem)
    return sorted(problems), sorted(warnings)


def _loads(config: Config, state: Path | None) -> list[Load]:
    place = state_path(state, os.environ, config.path)
    return anyio.run(load_all, config, place, backend_options={"use_uvloop": True})


def _print(functions: list[str], warnings: Sequence[Problem], problems: Sequence[Problem], loads: list[Load]) -> None:
    for warning in warnings:
        say(f"warning: {warning}", err=True)
    for problem in problems:
        say(str(problem), err=True)
    width = max((len(load.function) for load in loads), default=0)
    for load in loads:
        say(f"{load.function:{width}}  {told(load)}")
    failed = [load.function for load in loads if not load.ok]
    if problems and not failed:
        return
    shown = failed or functions
    what = f"{len(shown)} function{'s' * (len(shown) != 1)} ({some_of(shown)})"
    say(f"failed to load: {what}" if failed else f"ok: {what}")


def told(load: Load) -> str:
    """Return one line that says how a function loaded, followed by the traceback if it failed."""
    if not load.ok:
        return "\n  ".join([f"failed: {load.code}: {load.message}", *load.traceback.splitlines()])
    if load.by:
        return f"loaded in {load.ms:.0f} ms by {load.by}"
    parts = [f"loaded in {load.ms:.0f} ms, {'async def' if load.asynchronous else 'def'}"]
    if load.threads:
        count = f"{load.threads} thread{'s' * (load.threads != 1)}"
        parts.append(f"{count} alive after the import, of {load.thread_owner}: each instance is loaded, none is forked")
    if load.unsafe:
        left = ", ".join(load.unsafe)
        parts.append(f"left by the import: {left}: each instance is loaded, none is forked; {_REMEDY}")
    if load.shared:
        parts.append(f"left by the import: {', '.join(load.shared)}: all instances share it; {_REMEDY}")
    if load.held:
        parts.append(f"left by the import: {', '.join(load.held)}: {HELD_MEANS}")
    if load.deferred:
        parts.append(f"calls may import {listed(load.deferred)}: a server imports ahead what the first one does")
    return "; ".join([*parts, *load.generators, *rehearsal_notes(load.rehearsed, load.left_out, "")])


def _print_json(
    ok: bool, functions: list[str], problems: Sequence[Problem], warnings: Sequence[Problem], loads: list[Load]
) -> None:
    found = {"ok": ok, "functions": functions, "problems": problems, "warnings": warnings, "loads": loads}
    say_json(msgspec.json.encode(found))
