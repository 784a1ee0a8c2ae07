"""The call that the running code belongs to, where an instance runs several at once. `attributing.py` carries it."""

import time
from contextvars import ContextVar
from typing import Any

from .wire import CALL_MARK


class Call:
    """An open call of an async handler, and the task that runs it."""

    __slots__ = ("cpu_ns", "has_begun", "i", "is_overdue", "task", "threads_ns")

    def __init__(self, i: int) -> None:
        self.i = i
        self.task: Any = None
        self.has_begun = False
        """whether the task has run its first step"""
        self.is_overdue = False
        self.cpu_ns = 0
        """of the steps in the event loop that have ended"""
        self.threads_ns: list[int] | None = None
        """of each thread, or work in a pool of threads, that has ended"""

    @property
    def mark(self) -> str:
        """What starts each of its log lines."""
        return f"{CALL_MARK}{self.i}{CALL_MARK}"

    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.is_overdue

    def used_ns(self) -> int:
        """The CPU time so far. Called by the call's own task."""
        in_loop_ns = self.cpu_ns + time.thread_time_ns() - step_began_ns
        return in_loop_ns if self.threads_ns is None else in_loop_ns + sum(self.threads_ns)


CALL: "ContextVar[Call | None]" = ContextVar("forklight_call", default=None)
step_began_ns = 0
"""When the step that runs in the event loop began, in CPU time of the loop's thread."""
