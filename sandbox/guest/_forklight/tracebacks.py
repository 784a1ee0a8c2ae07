"""Formats an exception as a message and a traceback for the author, even if its own methods fail."""

import os
import traceback
from types import TracebackType

_GUEST = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MAX_FRAMES = 200
_MAX_TRACEBACK_BYTES = 64 * 1024
_MAX_MESSAGE_BYTES = 4 * 1024


def message_of(error: BaseException) -> str:
    """`str(error)`, bounded, or a note that its `__str__` failed."""
    try:
        text = str(error)
    except BaseException as failure:  # user code runs here, and may raise anything
        text = f"(no message: its __str__ raised {type(failure).__name__})"
    return cut(text, _MAX_MESSAGE_BYTES)


def format_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, with chained exceptions and groups, without the guest's frames; bounded.

    Each exception has its last 200 frames. Empty if no frame is left, because the author then has no line to look at.
    """
    try:
        described = traceback.TracebackException(type(error), error, error.__traceback__, limit=-_MAX_FRAMES)
        frames = _drop_guest_frames(described)
        return cut("".join(described.format()), _MAX_TRACEBACK_BYTES) if frames else ""
    except Exception as failure:  # the attributes of an exception are user code, and may be anything
        return f"(no traceback: formatting it raised {type(failure).__name__})"


def place_of(error: BaseException) -> str:
    """The innermost line of the author's code, for a MemoryError, which leaves no room for a whole traceback.

    Clears the frames, so that there is memory for the reply.
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
    """Drop the guest's frames; returns how many are left. Not recursive, because chains may be very long."""
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
    """The text, or its beginning and end if it is too long. Lone surrogates become escapes."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit_bytes:
        return data.decode("utf-8")
    half = limit_bytes // 2
    head = data[:half].decode("utf-8", "ignore")
    tail = data[-half:].decode("utf-8", "ignore")
    return f"{head}\n... {len(data) - 2 * half} bytes left out ...\n{tail}"
