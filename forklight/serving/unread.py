"""What has changed on disk since the running server read it: what `ps` says when it is asked."""

from collections.abc import Set
from pathlib import Path

import anyio
import anyio.to_thread
from msgspec.structs import replace

from forklight.code import archive, files
from forklight.code.selection import CodeError
from forklight.code.sight import changed_files
from forklight.observe.status import FunctionStatus, Status, Unread
from forklight.serving.renewal import Served
from forklight.serving.running import Running
from forklight.serving.versions import hashes_of

LIMIT_S = 2.0
"""Reading 250 MB takes less, unless the disk is slow or the machine busy."""

_one_at_a_time = anyio.CapacityLimiter(1)
"""A comparison that took too long continues in its thread; no other starts before it ends."""


async def with_unread(running: Running, status: Status) -> Status:
    """Add what has changed on disk to a status. Compares outside of the event loop."""
    served = running.served()
    with anyio.move_on_after(LIMIT_S):
        unread, stale = await anyio.to_thread.run_sync(
            compare, running, served, abandon_on_cancel=True, limiter=_one_at_a_time
        )
        return replace(status, unread=unread, functions=tuple(_marked(one, stale) for one in status.functions))
    return replace(status, unread=Unread(problem=f"it took longer than {LIMIT_S:g} s"))


def _marked(function: FunctionStatus, stale: Set[str]) -> FunctionStatus:
    return replace(function, stale=True) if function.name in stale else function


def compare(running: Running, served: dict[str, Served]) -> tuple[Unread, frozenset[str]]:
    """Return what differs from what the server has read, and the functions that its code concerns. Blocks."""
    config, versions = running.config, running.versions
    changed: set[str] = set()
    stale: set[str] = set()
    problem = ""
    packages = {function.code for function in config.functions.values() if function.source is not None}
    for code, before in versions.code.items():
        if code in packages:  # they never change
            continue
        try:
            now = _contents(code, config.apart | {running.state.path})
        except (CodeError, OSError) as error:
            problem = str(error)
            continue
        differing = changed_files(before, now)
        changed.update(differing)
        for name in [name for name, one in config.functions.items() if differing and one.code == code]:
            was = served[name]
            if running.readings.why_renew(was, was.spec, now):
                stale.add(name)
    now_set = hashes_of(versions.settings.keys())
    settings = (str(path) for path, content in versions.settings.items() if now_set[path] != content)
    return Unread(code=tuple(sorted(changed)), settings=tuple(sorted(settings)), problem=problem), frozenset(stale)


def _contents(code: Path, apart: Set[Path]) -> files.Contents:
    with archive.opened(code) as unpacked:
        root = unpacked if unpacked.is_dir() else unpacked.parent
        return files.contents_of(files.collect(unpacked, apart), root)
