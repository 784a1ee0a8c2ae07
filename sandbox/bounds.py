"""The bounds of every number and string that a function's process sends.

The guest keeps within them and reports a value that does not fit as an error of the handler. A value out of bounds is
therefore a breach, and the process is killed. A field without a bound here is limited by its container: the header of a
frame (`MAX_HEADER_BYTES`), its body (`max_result`), a control message (`MAX_MESSAGE_BYTES`) or a log line
(`log_lines.py`). JSON has no NaN and no infinity; msgspec refuses lone surrogates and excessive nesting.
"""

from typing import Annotated

from msgspec import Meta

from sandbox.guest._forklight.wire import (
    MAX_CODE_CHARS,
    MAX_HEADERS,
    MAX_LEFT_OUT,
    MAX_MESSAGE_CHARS,
    MAX_MODULE_CHARS,
    MAX_MODULES,
    MAX_REASON_CHARS,
    MAX_SECONDS,
    MAX_TEXT_CHARS,
    MAX_TRACEBACK_CHARS,
    MAX_TYPE_CHARS,
)

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Lengths, ids of calls, and CLOCK_MONOTONIC times, which are clamped to the times that the server measured."""
Credit = Annotated[int, Meta(ge=1, le=2**53)]
"""Bytes that one side may send, and the numbers of calls from inside a handler."""
Kilobytes = Annotated[int, Meta(ge=0, le=2**40)]
Milliseconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS * 1000)]
Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS)]
"""The delay of an output, or of a retry."""
Status = Annotated[int, Meta(ge=100, le=599)]
Small = Annotated[int, Meta(ge=0, le=9999)]
"""One part of a version number."""
Number = Annotated[int, Meta(ge=0, le=2**53)]
"""The number of a request on a control channel."""
Pid = Annotated[int, Meta(ge=0, le=2**22)]
"""Up to the kernel's PID_MAX_LIMIT (proc(5)). Thread counts have the same bound."""

Code = Annotated[str, Meta(max_length=MAX_CODE_CHARS)]
"""The name of an exception's type. It becomes a metric label."""
MediaType = Annotated[str, Meta(max_length=MAX_TYPE_CHARS)]
Message = Annotated[str, Meta(max_length=MAX_MESSAGE_CHARS)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
"""Names, ids, and the names and values of headers."""
Traceback = Annotated[str, Meta(max_length=MAX_TRACEBACK_CHARS)]

ModuleName = Annotated[
    str, Meta(max_length=MAX_MODULE_CHARS, pattern=r"\A[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
]
"""A dotted name. It goes back to the templates of the same function only, and into `ps`."""
Modules = Annotated[tuple[ModuleName, ...], Meta(max_length=MAX_MODULES)]
Reason = Annotated[str, Meta(max_length=MAX_REASON_CHARS)]
LeftOut = Annotated[dict[ModuleName, Reason], Meta(max_length=MAX_LEFT_OUT)]
"""Why a template has not imported some modules ahead."""

Headers = Annotated[tuple[tuple[Text, Text], ...], Meta(max_length=MAX_HEADERS)]
