"""What the server prints on SIGUSR1: everything that lives in it, for somebody who asks what it waits for.

The default action of the signal ends a process, so it is handled from before the configuration is read until the
process ends. The handler is Python's own: the event loop's would be removed with the loop.
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from forklight.observe.terminal import say
from forklight.serving.running import Running


def ignore_print_signal() -> None:
    """Make the signal do nothing until there is something to print. Processes that are started get its default."""
    signal.signal(signal.SIGUSR1, lambda *_: None)


@contextmanager
def printing_on_signal(running: Running) -> Iterator[None]:
    """Inside the block, the signal prints the picture to standard error."""
    loop = asyncio.get_running_loop()

    def show() -> None:
        for line in picture(running):
            say(line, err=True)

    def on_signal(*_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(show)

    signal.signal(signal.SIGUSR1, on_signal)
    try:
        yield
    finally:
        ignore_print_signal()


def picture(running: Running) -> Iterator[str]:
    """One line for each live object, under headings. Call it in the event loop."""
    tree, triggers, runners = running.tree, running.triggers, running.dispatcher.runners()
    instances = [instance for template in tree.templates() for instance in template.instances.values()]
    sections = {
        "tasks": sorted(_task_line(task) for task in asyncio.all_tasks()),
        "pools": [repr(runners[name]) for name in sorted(runners)],
        "zygotes": map(repr, tree.zygotes()),
        "templates": map(repr, tree.templates()),
        "instances": map(repr, instances),
        "triggers": map(repr, (triggers.http, *triggers.consumers(), triggers.timers)),
    }
    for heading, lines in sections.items():
        found = list(lines)
        yield f"{heading}: {len(found)}"
        yield from (f"  {line}" for line in found)


def _task_line(task: "asyncio.Task[object]") -> str:
    """Its name, and the line that it waits at."""
    frame = next(iter(task.get_stack(limit=1)), None)
    place = f" at {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
    return f"{task.get_name()}{place}"
