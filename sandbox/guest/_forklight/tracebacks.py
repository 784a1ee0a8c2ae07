"""An exception as text: a message and a traceback for the author to read, whatever the exception does to resist."""

import os
import traceback
from types import TracebackType

_GUEST = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MAX_FRAMES = 200
_MAX_TRACEBACK_BYTES = 64 * 1024
_MAX_MESSAGE_BYTES = 4 * 1024


def message_of(error: BaseException) -> str:
    """`str(error)`, bounded; a `__str__` that fails is said instead."""
    try:
        text = str(error)
    except BaseException as failure:  # user code runs here, and may raise anything
        text = f"(no message: its __str__ raised {type(failure).__name__})"
    return cut(text, _MAX_MESSAGE_BYTES)


def format_traceback(error: BaseException) -> str:
    """As Python prints it, chained exceptions and groups included, without the guest's own frames; bounded.

    Empty if that leaves no frame at all: the author has no line to look at. Each exception has its last 200 frames.
    """
    try:
        described = traceback.TracebackException(type(error), error, error.__traceback__, limit=-_MAX_FRAMES)
        frames = _drop_guest_frames(described)
        return cut("".join(described.format()), _MAX_TRACEBACK_BYTES) if frames else ""
    except Exception as failure:  # attributes of exceptions are the author's, and can be anything
        return f"(no traceback: formatting it raised {type(failure).__name__})"


def place_of(error: BaseException) -> str:
    """The innermost line of the author's, in one line: for a MemoryError, which leaves no room for more.

    Lets go of what the frames hold, so that there is memory to reply with.
    """
    place = ""
    link: TracebackType | None = error.__traceback__
    while link is not None:
        code = link.tb_frame.f_code
        if not code.co_filename.startswith(_GUEST):
            place = f'File "{code.co_filename}", line {link.tb_lineno}, in {code.co_name}'
        link = link.tb_next
    traceback.clear_frames(error.__traceback__)
    return place


def _drop_guest_frames(described: traceback.TracebackException) -> int:
    """How many frames are left in what will be printed. A loop, as a chain may be longer than the stack is deep."""
    left = 0
    todo = [described]
    while todo:
        one = todo.pop()
        kept = [frame for frame in one.stack if not frame.filename.startswith(_GUEST)]
        one.stack[:] = kept
        left += len(kept)
        shown = one.__context__ if not one.__suppress_context__ else one.__cause__
        todo += [] if shown is None else [shown]
        todo += getattr(one, "exceptions", None) or []  # groups: Python 3.11 and later
    return left


def cut(text: str, limit_bytes: int) -> str:
    """The beginning and the end of a text that is too long. What is not UTF-8 is written as an escape."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit_bytes:
        return data.decode("utf-8")
    half = limit_bytes // 2
    head = data[:half].decode("utf-8", "ignore")
    tail = data[-half:].decode("utf-8", "ignore")
    return f"{head}\n... {len(data) - 2 * half} bytes left out ...\n{tail}"
