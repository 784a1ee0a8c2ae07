"""Stacks for people: that which faulthandler wrote, without the guest's own frames, and those of overdue tasks."""

from sandbox.guest._forklight.wire import CALL_MARK

NOTHING = "(no Python stack: the process could not write one; it may have been stopped, or have closed the file)"


NONE_OF_A_PROGRAM = "(no stack: the process waited for something, or ended before it could write one)"
NONE_OF_A_SNAPSHOT = "(no stack: Node.js shows none while it builds a startup snapshot; without snapshot it does)"
INTERRUPTED = b"KEYBOARD_INTERRUPT: Script execution was interrupted by `SIGINT`"
"""What Node.js prints before its stack (--trace-sigint)."""
FULL_HEAP = b"FATAL ERROR:", b"heap out of memory"
"""The beginning and the end of the line that V8 prints when it ends its process for want of memory."""
_FRAME = b"    at "
_MOST_FRAMES = 100
_NOT_OWN = "/node/guest.js", "/node/start.js", "node:internal"
"""What is in a frame of our guest or of Node.js itself."""


class Printed:
    """The stack that Node.js prints among the lines of its log when it is interrupted."""

    def __init__(self) -> None:
        self._frames: list[str] = []
        self._is_open = False

    @property
    def text(self) -> str:
        """The frames, without those of the guest and of Node.js itself; empty if there are none."""
        own = [line for line in self._frames if not any(part in line for part in _NOT_OWN)]
        return "\n".join(["JavaScript stack (most recent call first):", *own]) if own else ""

    def take(self, line: bytes) -> bool:
        """Whether the line belongs to the stack, and not to the log."""
        if line == INTERRUPTED:
            self._is_open = True
            return True
        is_frame = self._is_open and line.startswith(_FRAME) and len(self._frames) < _MOST_FRAMES
        if is_frame:
            self._frames.append(line.decode(errors="backslashreplace"))
        was_open, self._is_open = self._is_open, is_frame
        return is_frame or (was_open and not line)


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
