"""What can go wrong in starting things, as exceptions. What goes wrong in a call is an Outcome, never an exception.

Each exception is named for what happened, and derives from `SandboxError`. `processes.Forged` and `wire.Breach`, which
never leave the sandbox, stand where they are raised.
"""

from bus.outcome import ExceptionName, LoadCode


class SandboxError(Exception):
    """Base of everything the sandbox raises of its own."""


class LoadFailed(SandboxError):
    """A zygote or template could not be made. `code` is a stable load code; `retry_at_ns` is when its back-off ends."""

    def __init__(
        self, code: LoadCode | ExceptionName, message: str, traceback: str = "", retry_at_ns: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.traceback = traceback
        self.retry_at_ns = retry_at_ns


class StartFailed(SandboxError):
    """The template lives but could not fork (EAGAIN, ENOMEM); trying again later may work."""


class Ended(SandboxError):
    """The process at the other end is gone, or was killed because it broke its protocol or did not answer in time."""


class InstanceGone(SandboxError):
    """The instance was dead before anything reached it: the event has not been run and may be assigned again."""
