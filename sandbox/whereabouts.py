"""Where the code of one process is: asks the process for its stack, and reads what it wrote.

Python writes its stack at once, into the memory that both sides share, and goes on (faulthandler); the process in front
of a command writes there what the command does. A program that only tells it as it is interrupted
(`Abilities.interrupt`) is asked when it has to end anyway; it prints to its log.
"""

import asyncio
from typing import Final

from sandbox import processes, stacks
from sandbox.channels import Channels
from sandbox.endings import Verdict
from sandbox.guest._forklight.wire import STACK_SIGNAL
from sandbox.kinds import Abilities
from sandbox.logs import LogPipe

_LAST_WORDS_S: Final = 0.25
"""How long a program may take from its interruption to the end of its stack."""


class Whereabouts:
    """The stacks of one process, and its end by our hand."""

    def __init__(self, pidfd: int, channels: Channels, log: LogPipe, abilities: Abilities) -> None:
        """The owner closes `pidfd` after `close`."""
        self._pidfd = pidfd
        self._channels = channels
        self._log = log
        self._interrupt = abilities.interrupt
        self._aborts_when_full = abilities.aborts_when_full
        self._killing: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Have the process write its stack. One that writes it only when it is interrupted may end by that."""
        if self._interrupt is None:
            processes.kill(self._pidfd, STACK_SIGNAL)
        else:
            self._log.await_stack()
            processes.kill(self._pidfd, self._interrupt)

    def ask_overdue(self) -> None:
        """Have it write a stack that shows the handler and not its cancellation, if it can without ending."""
        self._channels.clear_stack()
        if self._interrupt is None:
            processes.kill(self._pidfd, STACK_SIGNAL)

    def kill(self, verdict: Verdict | None) -> None:
        """SIGKILL the process; if it is stuck in a call, once it had time to tell where."""
        if self._interrupt is None or verdict is None or verdict.kind != "timeout":
            processes.kill(self._pidfd)
            return
        self.ask()
        self._killing = asyncio.get_running_loop().call_later(_LAST_WORDS_S, processes.kill, self._pidfd)

    def of(self, verdict: Verdict, i: int) -> str:
        """Where the handler of call `i` was: its task, if it is async and was reached by `cancel`, else the threads."""
        if verdict.kind == "timeout":
            return self._log.stack or stacks.of_call(self._channels.read_tasks(), i) or self.last()
        return self.last() if verdict.code == "Signal" else ""

    def last(self) -> str:
        """The stack that the process wrote, for people, or the reason why there is none."""
        if self._interrupt is not None:
            return self._log.stack or stacks.NONE_OF_A_PROGRAM
        return stacks.readable(self._channels.read_stack())

    def full_heap(self, code: int | None, memory_bytes: int) -> str:
        """Why a program ended itself that aborts when its heap is full, as its log says; else an empty text.

        By SIGABRT, or by another signal: the first process of a box cannot abort, and ends by the trap behind that.
        """
        if not self._aborts_when_full or code is None or code >= 0:
            return ""
        self._log.drain()
        if not self._log.has_full_heap:
            return ""
        return f"its heap was full: it may have {memory_bytes >> 20} MiB (memory); its log has what V8 said of it"

    def close(self) -> None:
        """The process is dead."""
        if self._killing is not None:
            self._killing.cancel()
