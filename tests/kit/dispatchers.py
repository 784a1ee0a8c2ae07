"""Starts dispatchers and kills them: `python -m tests.kit.dispatchers FOLDER KILLS SEED LEVEL`, one JSON line per kill.

Each dispatcher is a process that opens a tree on the guest and the functions in FOLDER, and runs functions that never
end by themselves at this level. It is killed with SIGKILL at a random moment, every fourth only after all its functions
were at work, every eighth with a zygote that has been stopped, and every other one shortly after some process below it
was killed. A line says after how long (`after_s`), how many processes it had then (`had`), what was killed before it
(`before`), and either how long until all of them were gone (`gone_s`) or which were left (`left`).

Whatever loses its parent becomes a child of this process, as long as nobody below adopts it. So nothing can hide: what
has no descendants here has left nothing behind.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from sandbox.containment import Level
from sandbox.errors import LoadFailed, StartFailed
from sandbox.spec import FunctionSpec, Runtime
from sandbox.tree import Tree, open_tree
from tests.kit.accounts import account
from tests.kit.levels import contained
from tests.kit.support import event

_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)

LONGEST_LIFE_S = 0.5
BEFORE_S = 0.05
"""How long the dispatcher lives on, at most, after something below it was killed."""
LIMIT_S = 10.0
"""The kernel kills at once all but a zygote whose interpreter just starts: it must get to its first line to see that
nobody is there, which takes its time where many start together. The promise is 1 s, where the machine keeps up."""
HANDLERS = ("quick", "ignores_signals", "hangs_in_c", "holds_gil", "daemonizes", "forks_itself", "awaits")


def main() -> None:
    """Kill as many dispatchers as asked, one after the other."""
    folder, kills, seed, level = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Level(sys.argv[4])
    chance = random.Random(seed)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    contained(level)  # what the machine has is found once, not in the short life of each dispatcher
    for number in range(kills):
        folders = folder / f"folders-{seed}-{number}"
        folders.mkdir(mode=0o711)
        busy, busy_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            uvloop.run(dispatch(folder, folders, level, busy_end))
            os._exit(1)
        if number % 4 == 3:
            os.read(busy, 1)
        after_s = chance.uniform(0, LONGEST_LIFE_S)
        time.sleep(after_s)  # the random moment itself
        os.close(busy)
        os.close(busy_end)
        before = kill_below(pid, level, chance) if number % 2 else ""
        killed = kill(pid, stop_zygote=number % 8 == 7)
        sys.stdout.write(json.dumps({"after_s": after_s, "before": before, **killed}) + "\n")
        sys.stdout.flush()


async def dispatch(folder: Path, folders: Path, level: Level, busy: int) -> None:
    """One dispatcher: all functions at once, each called again and again. Writes to `busy` when all are at work."""
    guest = folder / "guest"
    async with open_tree(guest=guest, folders=folders, sink=lambda _line: None, account=account()) as tree:
        waiting = [*HANDLERS]

        def at_work(handler: str) -> None:
            waiting.remove(handler)
            if not waiting:
                os.write(busy, b"!")

        await asyncio.gather(*(call_for_ever(tree, spec(folder, handler, level), at_work) for handler in HANDLERS))


def spec(folder: Path, handler: str, level: Level) -> FunctionSpec:
    """A handler of `tests/functions/stubborn`."""
    runtime = Runtime(name="default", python=Path(sys.executable))
    code = folder / "functions" / "stubborn"
    return FunctionSpec(
        name=handler,
        version=handler,
        code=code,
        handler=f"function:{handler}",
        runtime=runtime,
        containment=contained(level),
    )


async def call_for_ever(tree: Tree, function: FunctionSpec, at_work: Callable[[str], None]) -> None:
    """New instances one after the other, though most never answer."""
    first = True
    while True:
        try:
            instance, kind = await tree.start(function)
        except (LoadFailed, StartFailed):  # what was killed was on its way
            await asyncio.sleep(0.01)
            continue
        call = instance.invoke(event(b'"x"'), start=kind)
        if first:
            at_work(function.name)
            first = False
        await call
        instance.leave()


def kill_below(dispatcher: int, level: Level, chance: random.Random) -> str:
    """SIGKILL any process below the dispatcher, and give the rest a moment; returns what it was.

    Not a zygote where there are no boxes: whoever leaves its session needs it to be found.
    """
    below = descendants(dispatcher)
    if level != Level.NAMESPACES:
        below = [pid for pid in below if pid not in children(dispatcher)]
    if not below:
        return ""
    pid = chance.choice(below)
    with contextlib.suppress(OSError):  # it has just ended by itself
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        os.kill(pid, signal.SIGKILL)
        time.sleep(chance.uniform(0, BEFORE_S))
        return name
    return ""


def kill(dispatcher: int, *, stop_zygote: bool) -> dict[str, object]:
    """SIGKILL a dispatcher, then reap what becomes our child until nothing is left below us, at most `LIMIT_S`."""
    had = descendants(dispatcher)
    if stop_zygote:
        for below in children(dispatcher):
            if "bwrap" not in _line(below):  # a stopped one waits for whoever stopped it; in its box all are dead
                with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                    os.kill(below, signal.SIGSTOP)
    os.kill(dispatcher, signal.SIGKILL)
    killed = time.monotonic()
    while time.monotonic() - killed < LIMIT_S:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.001)
        except ChildProcessError:
            return {"had": len(had), "left": [], "gone_s": time.monotonic() - killed}
    return {"had": len(had), "left": [_line(pid) for pid in descendants(os.getpid())]}


def descendants(pid: int) -> list[int]:
    """All processes below this one, as far as they can be seen at once."""
    found = children(pid)
    for below in found:
        found += children(below)
    return found


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    return []


def _line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return "ended since"


if __name__ == "__main__":
    main()
