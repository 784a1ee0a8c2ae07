"""Exceptions of starting processes. A failure inside a call is an `Outcome`, never an exception.

Each exception is named for what happened and derives from `SandboxError`. `processes.Forged` and `wire.Breach` never
leave the sandbox and are defined where they are raised.
"""

from bus.outcome import ExceptionName, LoadCode


class SandboxError(Exception):
    """Base of all exceptions of the sandbox."""


class LoadFailed(SandboxError):
    """A zygote or template could not be started, and the function is at fault.

    `code` is a load code or the name of an exception; `retry_at_ns` is when the back-off ends (CLOCK_MONOTONIC).
    """

    def __init__(
        self, code: LoadCode | ExceptionName, message: str, traceback: str = "", retry_at_ns: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.traceback = traceback
        self.retry_at_ns = retry_at_ns


class StartFailed(SandboxError):
    """The machine has no room for another process now (EAGAIN, ENOMEM, EMFILE); a later attempt may succeed."""


class Ended(SandboxError):
    """The process at the other end has ended, or was killed for a breach or for not answering in time."""


class InstanceGone(SandboxError):
    """The instance died before the event reached it. The event has not run and may be assigned again."""
