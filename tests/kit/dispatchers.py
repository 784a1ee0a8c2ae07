"""Starts dispatchers and kills them: `python -m tests.kit.dispatchers FOLDER KILLS SEED`, one JSON line per kill.

Each dispatcher is a process that opens a tree on the guest and the functions in FOLDER, and runs functions that never
end by themselves. It is killed with SIGKILL at a random moment, every fourth only after all its functions were at
work, and every eighth with a zygote that has been stopped; a line says after how long (`after_s`), how many processes
it had then (`had`), how long until all of them were gone (`gone_s`), or which were left (`left`).
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from sandbox.spec import FunctionSpec, Runtime
from sandbox.tree import Tree, open_tree
from tests.kit.support import account, event, processes_with

LONGEST_LIFE_S = 0.5
LIMIT_S = 3.0
"""The kernel kills at once all but a zygote whose interpreter just starts: it must get to its first line to see that
nobody is there, which takes its time where many start together. The promise is 1 s, where the machine keeps up."""
HANDLERS = ("quick", "ignores_signals", "hangs_in_c", "holds_gil", "daemonizes", "forks_itself", "awaits")


def main() -> None:
    """Kill as many dispatchers as asked, one after the other."""
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    for number in range(kills):
        folders = folder / f"folders-{seed}-{number}"
        folders.mkdir(mode=0o711)
        mark = f"mark-{seed}-{number}-{os.getpid()}"
        busy, busy_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            uvloop.run(dispatch(folder, folders, mark, busy_end))
            os._exit(1)
        if number % 4 == 3:
            os.read(busy, 1)
        after_s = chance.uniform(0, LONGEST_LIFE_S)
        time.sleep(after_s)  # the random moment itself
        os.close(busy)
        os.close(busy_end)
        killed = kill(pid, mark, stop_zygote=number % 8 == 7)
        sys.stdout.write(json.dumps({"after_s": after_s, **killed}) + "\n")
        sys.stdout.flush()


async def dispatch(folder: Path, folders: Path, mark: str, busy: int) -> None:
    """One dispatcher: all functions at once, each called again and again. Writes to `busy` when all are at work."""
    os.chdir(folder)
    guest = folder / mark  # its name is in the command line of the zygote, and of all that are forked from it
    guest.symlink_to("guest")
    async with open_tree(guest=guest, folders=folders, sink=lambda _line: None, account=account()) as tree:
        waiting = [*HANDLERS]

        def at_work(handler: str) -> None:
            waiting.remove(handler)
            if not waiting:
                os.write(busy, b"!")

        await asyncio.gather(*(call_for_ever(tree, spec(folder, handler), mark, at_work) for handler in HANDLERS))


def spec(folder: Path, handler: str) -> FunctionSpec:
    """A handler of `tests/functions/stubborn`."""
    runtime = Runtime(name="default", python=Path(sys.executable))
    code = folder / "functions" / "stubborn"
    return FunctionSpec(name=handler, version=handler, code=code, handler=f"function:{handler}", runtime=runtime)


async def call_for_ever(tree: Tree, function: FunctionSpec, mark: str, at_work: Callable[[str], None]) -> None:
    """New instances one after the other, though most never answer."""
    first = True
    while True:
        instance, kind = await tree.start(function)
        call = instance.invoke(event(json.dumps(mark).encode()), start=kind)
        if first:
            at_work(function.name)
            first = False
        await call
        instance.leave()


def kill(pid: int, mark: str, *, stop_zygote: bool) -> dict[str, object]:
    """SIGKILL a dispatcher, then look until nothing that bears its mark is left, at most `LIMIT_S`."""
    had = len(processes_with(mark))
    if stop_zygote:
        for zygote in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(zygote), signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    os.waitpid(pid, 0)
    while left := processes_with(mark):
        if time.monotonic() - killed > LIMIT_S:
            return {"had": had, "left": [Path(f"/proc/{one}/cmdline").read_text() for one in left]}
    return {"had": had, "left": [], "gone_s": time.monotonic() - killed}


if __name__ == "__main__":
    main()
