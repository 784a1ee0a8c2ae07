"""A process tree for one purpose, without a server: `invoke NAME --here` and `check --load`. Nothing of it stays."""

import contextlib
import os
import sys
import termios
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from bus import Event, Failed, Outcome
from bus.invocation import Invocation, Reporter
from forklight.code.deferred import deferred_imports
from forklight.code.snapshots import as_written
from forklight.config.configuration import Config
from forklight.observe.terminal import coloured, say_lines
from forklight.serving.isolation import account_of
from forklight.serving.versions import make_guest, make_versions
from forklight.state.directory import open_here, rehearsals_path
from forklight.state.rehearsals import KeptPlans
from sandbox import cgroups
from sandbox.errors import LoadFailed, StartFailed
from sandbox.log_lines import LogLine
from sandbox.logs import LogSink
from sandbox.proving import prove
from sandbox.rehearsal import Plans
from sandbox.spec import FunctionSpec
from sandbox.tree import Tree, open_tree

UNHURRIED_S = 24 * 3600.0
"""Every time limit at a terminal: debugging takes as long as it takes."""


class Load(Struct, frozen=True, kw_only=True):
    """How one function loaded. `code`, `message` and `traceback` are empty if it did, the rest is if it did not."""

    function: str
    ok: bool
    ms: float = 0.0
    """For the import of the code and the `init` hook; with `by`, for the start of an instance."""
    by: str = ""
    """What loaded it, if that is not Python: `Node.js 20.11.1`."""
    asynchronous: bool = False
    threads: int = 0
    """Alive after the import, besides the main one: with any, each instance loads the code itself and is not forked."""
    thread_owner: str = ""
    """The modules that started them."""
    unsafe: tuple[str, ...] = ()
    """What else the import left behind that makes forking unsafe."""
    shared: tuple[str, ...] = ()
    """What the import left behind that all instances share."""
    held: tuple[str, ...] = ()
    """Locks that the import has not released."""
    generators: tuple[str, ...] = ()
    """The generators of random numbers that it made, and what becomes of each in an instance."""
    rehearsed: tuple[str, ...] = ()
    """Modules that were imported ahead, because a server has learnt that calls of this version import them."""
    left_out: dict[str, str] = {}
    """Modules that were not, and why."""
    deferred: tuple[str, ...] = ()
    """Modules that functions of the loaded code import in their bodies, if no server has learnt anything so far."""
    code: str = ""
    message: str = ""
    traceback: str = ""


async def invoke_here(config: Config, event: Event, state_path: Path, reporter: Reporter) -> None:
    """Run the event's function once, in an instance forked from its template, and report how it went.

    It reads our standard input. At a terminal it also writes there and has no time limit, so that `breakpoint()` works;
    otherwise its log goes to standard error. Raises ConfigError if its code cannot be read, StateError if the state
    directory cannot be used; whatever goes wrong later is the outcome.
    """
    reporter(Invocation(event, await _outcome(config, event, state_path)))


async def _outcome(config: Config, event: Event, state_path: Path) -> Outcome:
    name = event.function or ""
    alone = replace(config, functions={name: config.functions[name]})
    reads_input = sys.stdin is not None  # else descriptor 0 is closed, or somebody else's
    with _terminal_as_it_was() as has_terminal:
        async with _open_once(alone, state_path, _print, shares_input=reads_input) as (tree, specs):
            spec, code = specs[name], config.functions[name].code
            if has_terminal:
                spec = replace(spec, timeout_s=UNHURRIED_S, init_timeout_s=UNHURRIED_S)
            try:
                instance, start = await tree.start(spec)
            except LoadFailed as error:
                message, traceback = (_edited(text, spec, code) for text in (error.message, error.traceback))
                return Failed(kind="load", code=error.code, message=message, traceback=traceback)
            except StartFailed as error:
                return Failed(kind="throttled", code="MachineMemory", message=str(error))
            outcome = await instance.invoke(event, start=start)
            if isinstance(outcome, Failed):
                return replace(outcome, traceback=_edited(outcome.traceback, spec, code))
            return outcome


def _edited(text: str, spec: FunctionSpec, code: Path) -> str:
    """Return the text with the files that its reader edits, to click on; those of a zip are named as in it."""
    folder = code.parent if code.suffix == ".py" else code
    return as_written(text, spec.code, folder if folder.is_dir() else None)


async def load_all(config: Config, state_path: Path) -> list[Load]:
    """Load the functions one after the other, by name. What they print goes to standard error.

    Raises ConfigError if code cannot be read, StateError if the state directory cannot be used.
    """
    plans = KeptPlans(rehearsals_path(state_path), is_ours=False)
    async with _open_once(config, state_path, _print_named, plans=plans) as (tree, specs):
        tree.settle()
        return [await _load(tree, specs[name], config.functions[name].code) for name in sorted(specs)]


async def _load(tree: Tree, spec: FunctionSpec, code: Path) -> Load:
    begun_s = time.monotonic()
    try:
        loaded = (await prove(tree, spec)).loaded
    except LoadFailed as error:
        message, traceback = (_edited(text, spec, code) for text in (error.message, error.traceback))
        return Load(function=spec.name, ok=False, code=error.code, message=message, traceback=traceback)
    except StartFailed as error:
        return Load(function=spec.name, ok=False, code="MachineMemory", message=str(error))
    finally:
        plan = tree.rehearsed_of(spec)
        tree.drop(spec)
    if not spec.runtime.abilities.imports_ahead:
        by = f"{spec.runtime.abilities.title} {spec.runtime.release}".strip()
        return Load(function=spec.name, ok=True, ms=round((time.monotonic() - begun_s) * 1000, 1), by=by)
    has_to_learn = spec.rehearsal != "none" and plan.modules is None and not (loaded.threads > 1 or loaded.unsafe)
    return Load(
        function=spec.name,
        ok=True,
        ms=round(loaded.ms, 1),
        asynchronous=loaded.asynchronous,
        threads=loaded.threads - 1,
        thread_owner=loaded.thread_owner or "",
        unsafe=loaded.unsafe,
        shared=loaded.shared,
        held=loaded.held,
        generators=loaded.generators,
        rehearsed=loaded.rehearsed,
        left_out=plan.left_out,
        deferred=deferred_imports(spec.code, loaded.files or ()) if has_to_learn else (),
    )


@contextlib.asynccontextmanager
async def _open_once(
    config: Config, state_path: Path, sink: LogSink, *, shares_input: bool = False, plans: Plans | None = None
) -> AsyncIterator[tuple[Tree, dict[str, FunctionSpec]]]:
    """A tree for the functions of `config`, and their specs by name."""
    with open_here(state_path, config.user) as state:
        specs, guest = make_versions(config, state, seals=False).specs, make_guest(config, state)
        account = account_of(config.user)
        async with open_tree(
            guest=guest,
            folders=state.tmp,
            sink=sink,
            account=account,
            shares_input=shares_input,
            plans=plans,
            cgroups=cgroups.find(),
        ) as tree:
            yield tree, specs


@contextlib.contextmanager
def _terminal_as_it_was() -> Iterator[bool]:
    """Yield whether there is a terminal, and restore it: a debugger killed in its prompt leaves it without an echo."""
    if not os.isatty(0):
        yield False
        return
    before = termios.tcgetattr(0)
    try:
        yield True
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _print(line: LogLine) -> None:
    if line.instance:  # a line of no instance says why none could be started, as the outcome does
        say_lines(coloured(line.whole, colour=sys.stderr.isatty()), err=True)


def _print_named(line: LogLine) -> None:
    say_lines(f"{line.function}: {coloured(line.whole, colour=sys.stderr.isatty())}", err=True)
