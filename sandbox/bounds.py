"""The bounds of every number and string that comes from a process of a function.

A guest of ours keeps within them, and tells the author what does not fit, as an error of the handler. So what is beyond
them is a breach, and its process is killed. What has no bound of its own here has that of what it stands in: the header
of a frame (`MAX_HEADER_BYTES`), its body (`max_result`), a control message (`MAX_MESSAGE_BYTES`), a line of a log
(`logs.py`). JSON has neither nan nor infinity, and msgspec refuses lone surrogates and what is nested too deeply.
"""

from typing import Annotated

from msgspec import Meta

from sandbox.guest._forklight.wire import (
    MAX_CODE_CHARS,
    MAX_HEADERS,
    MAX_MESSAGE_CHARS,
    MAX_SECONDS,
    MAX_TEXT_CHARS,
    MAX_TRACEBACK_CHARS,
    MAX_TYPE_CHARS,
)

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Lengths, ids of calls, and CLOCK_MONOTONIC times, which are clamped to what we saw ourselves."""
Kilobytes = Annotated[int, Meta(ge=0, le=2**40)]
Milliseconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS * 1000)]
Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS)]
"""How long an output is delayed, or a client asked to wait."""
Status = Annotated[int, Meta(ge=100, le=599)]
Small = Annotated[int, Meta(ge=0, le=9999)]
"""A part of a version."""
Number = Annotated[int, Meta(ge=0, le=2**53)]
"""Of a request on a control channel."""
Pid = Annotated[int, Meta(ge=0, le=2**22)]
"""The kernel's largest, PID_MAX_LIMIT (proc(5)); also of counts of threads."""

Code = Annotated[str, Meta(max_length=MAX_CODE_CHARS)]
"""The name of an exception's type: it is a label of a metric."""
MediaType = Annotated[str, Meta(max_length=MAX_TYPE_CHARS)]
Message = Annotated[str, Meta(max_length=MAX_MESSAGE_CHARS)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
"""Names, ids, and what is in headers."""
Traceback = Annotated[str, Meta(max_length=MAX_TRACEBACK_CHARS)]

Headers = Annotated[tuple[tuple[Text, Text], ...], Meta(max_length=MAX_HEADERS)]
