"""`check --load`: every function is loaded once, in a template as it will be when served; nothing of it stays."""

import sys
from pathlib import Path

from msgspec import Struct

from forklight.config.configuration import Config
from forklight.observe.terminal import coloured, say_lines
from forklight.serving.here import account_of
from forklight.serving.versions import make_guest, make_versions
from forklight.state.directory import open_here
from sandbox.errors import LoadFailed, StartFailed
from sandbox.log_lines import LogLine
from sandbox.spec import FunctionSpec
from sandbox.tree import Tree, open_tree


class Load(Struct, frozen=True, kw_only=True):
    """How one function loaded. `code`, `message` and `traceback` are empty if it did, the rest is if it did not."""

    function: str
    ok: bool
    ms: float = 0.0
    """For the import of the code and the `init` hook."""
    asynchronous: bool = False
    threads: int = 0
    """Alive after the import, besides the main one: with any, instances are loaded each, not forked."""
    thread_owner: str = ""
    """The modules that started them."""
    unsafe: tuple[str, ...] = ()
    """What else it left behind because of which instances are loaded each."""
    shared: tuple[str, ...] = ()
    """What it left behind that all instances share."""
    code: str = ""
    message: str = ""
    traceback: str = ""


async def load_all(config: Config, state_path: Path) -> list[Load]:
    """Load the functions one after the other, by name. What they print goes to standard error.

    Raises ConfigError if code cannot be taken, StateError if the state directory cannot be used.
    """
    with open_here(state_path, config.user) as state:
        specs, guest = make_versions(config, state), make_guest(config, state)
        account = account_of(config.user)
        async with open_tree(guest=guest, folders=state.tmp, sink=_print, account=account) as tree:
            return [await _load(tree, specs[name], config.functions[name].code) for name in sorted(specs)]


async def _load(tree: Tree, spec: FunctionSpec, code: Path) -> Load:
    try:
        loaded = (await tree.load(spec)).loaded
    except LoadFailed as error:
        written = code.parent if code.suffix == ".py" else code
        traceback = error.traceback.replace(str(spec.code), str(written))  # its reader edits that, not the snapshot
        return Load(function=spec.name, ok=False, code=error.code, message=error.message, traceback=traceback)
    except StartFailed as error:
        return Load(function=spec.name, ok=False, code="MachineMemory", message=str(error))
    finally:
        tree.drop(spec)
    return Load(
        function=spec.name,
        ok=True,
        ms=round(loaded.ms, 1),
        asynchronous=loaded.asynchronous,
        threads=loaded.threads - 1,
        thread_owner=loaded.thread_owner or "",
        unsafe=loaded.unsafe,
        shared=loaded.shared,
    )


def _print(line: LogLine) -> None:
    say_lines(f"{line.function}: {coloured(line.whole, colour=sys.stderr.isatty())}", err=True)
