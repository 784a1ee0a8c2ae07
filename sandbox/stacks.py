"""Stacks for people: that which faulthandler wrote, without the guest's own frames, and those of overdue tasks."""

from sandbox.guest._forklight.wire import CALL_MARK

NOTHING = "(no Python stack: the process could not write one; it may have been stopped, or have closed the file)"


def readable(dump: str) -> str:
    """The dump without the guest's frames, or the reason why there is none.

    faulthandler lists the most recent call first, and the guest calls the function: a thread is cut at the first frame
    of the guest.
    """
    lines, ours = [], False
    for line in dump.splitlines():
        if not line.startswith("  "):  # the heading of the next thread, or an empty line
            ours = False
        ours = ours or "/_forklight/" in line
        if not ours:
            lines.append(line)
    return "\n".join(lines).strip() or NOTHING


def of_call(tasks: str, i: int) -> str:
    """The stack of call `i` among those that the guest wrote (`TASKS_AT`), or an empty text."""
    _, _, found = tasks.partition(f"{CALL_MARK}{i}{CALL_MARK}")
    return readable(found.partition(CALL_MARK)[0]) if found else ""
