"""What an instance does before its first event: run the `after_fork` hook, or load what its template has not.

Both may fail, hang or end the process.

An instance that has neither to do is ready by construction: it can be written to before it has run its first line. Any
other sends `ready` or `unfit` first and gets no event before that, so a failure here costs no event.
"""

import asyncio
from typing import Protocol

from bus.outcome import ExceptionName
from sandbox.calls import Calls
from sandbox.endings import Died, Verdict, ending
from sandbox.errors import Ended, LoadFailed
from sandbox.frames import UnfitFrame
from sandbox.last_words import below, quoted
from sandbox.load_message import too_slow
from sandbox.logs import LogPipe
from sandbox.spec import FunctionSpec

_HOOK = "the hook 'after_fork'"


class Newborn(Protocol):
    """The part of an instance that its birth needs."""

    def ask_for_stack(self) -> None:
        """Have the process write its stack."""

    def last_stack(self) -> str:
        """The stack that it wrote."""

    def kill(self, verdict: Verdict) -> None:
        """Kill it now."""

    def leave(self) -> None:
        """Let it end by itself."""


class Birth:
    """The start of one instance: the tree awaits it, the instance reports its progress."""

    def __init__(self, spec: FunctionSpec, log: LogPipe) -> None:
        self._spec = spec
        self._log = log
        self._is_awaited = spec.tells_when_ready
        log.keep_last_words(keep=self._is_awaited)
        abilities = spec.runtime.abilities
        self._what = _HOOK if abilities.imports_ahead else f"{abilities.loading} {spec.name!r}"
        self._is_overtime = False
        self._ended: asyncio.Future[LoadFailed | Ended | None] = asyncio.get_running_loop().create_future()
        """Why the instance will never serve, or None once it does."""
        self._unfit: UnfitFrame | None = None
        """What it has said, if what it prints as it ends tells where."""

    async def wait(self, newborn: Newborn) -> None:
        """Wait until it is ready, for as long as a load may take.

        Raises LoadFailed if it will never be, Ended if the instance was asked to leave meanwhile.
        """
        if not self._is_awaited:
            return
        limit_s = self._spec.init_timeout_s
        overtime = asyncio.get_running_loop().call_later(limit_s, self._ask_for_stack, newborn)
        try:
            async with asyncio.timeout(limit_s + self._spec.grace_s):
                failed = await asyncio.shield(self._ended)  # the instance sets it later, even after a time-out
        except TimeoutError:
            failed = self._refused() or self._too_slow(newborn.last_stack())
            newborn.kill(Verdict("crash", "Exit", f"{self._what} took too long"))
        except BaseException:
            newborn.leave()
            raise
        finally:
            overtime.cancel()
        if failed is not None:
            raise failed

    def _ask_for_stack(self, newborn: Newborn) -> None:
        self._is_overtime = True
        newborn.ask_for_stack()

    def _too_slow(self, stack: str) -> LoadFailed:
        return too_slow(self._what, self._spec, below(stack, self._log.last_words()))

    def done(self, unfit: UnfitFrame | None) -> None:
        """It can take events, unless it is `unfit`."""
        if self._ended.done():
            return
        self._unfit = unfit
        if unfit is None or unfit.traceback:
            self._ended.set_result(self._refused())
            self._log.keep_last_words(keep=False)

    def died(self, calls: Calls, died: Died, stack: str) -> None:
        """The process is dead."""
        if not self._ended.done():
            self._ended.set_result(self._why(calls, died, stack))

    def _refused(self) -> LoadFailed | None:
        """The error that it has told, with what it has printed; None if it has told none."""
        if self._unfit is None:
            return None
        failed = LoadFailed(ExceptionName(self._unfit.code), self._unfit.message, self._unfit.traceback)
        return quoted(failed, self._log.last_words(), self._spec)

    def _why(self, calls: Calls, died: Died, stack: str) -> LoadFailed | Ended:
        if (refused := self._refused()) is not None:
            return refused
        if calls.was_asked_to_leave:
            return Ended("the instance was asked to leave")
        if self._is_overtime:  # the question for its stack has ended it
            return self._too_slow(stack)
        condemned = calls.condemned_for
        how = f"it ended its process with {ending(died.code)}" if died.code is not None else "its process is gone"
        how = died.out_of_memory or how
        why = how if condemned is None else condemned.message
        failed = LoadFailed("InitFailed", f"{self._what} did not return: {why}", stack)
        return quoted(failed, self._log.last_words(), self._spec)
