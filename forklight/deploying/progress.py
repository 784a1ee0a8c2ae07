"""The steps of a deploy as they are reported, and how long each took."""

import time
from collections.abc import Callable

from msgspec.structs import replace

from forklight.serving.deployment import Step

Report = Callable[[Step], None]


class Progress:
    """Reports the steps of a deploy, and measures them."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._begun_s = self._step_s = time.monotonic()
        self._step: Step | None = None
        self.times_ms: dict[str, float] = {}
        self.is_committed = False
        """Whether the change has been written down, and so is served after this moment."""

    def begin(self, step: Step) -> None:
        """The next step begins; the one before has ended."""
        self._end_step()
        self._step, self._step_s = step, time.monotonic()
        self._report(step)

    def has_begun(self, step: str) -> bool:
        """Whether this step has begun, and may have ended."""
        return step in self.times_ms or (self._step is not None and self._step.step == step)

    def done(self, function: str, of: int) -> None:
        """One function is done with this step."""
        if self._step is not None:
            self._step = replace(self._step, function=function, done=self._step.done + 1, of=of, ms=self._ms())
            self._report(self._step)

    def end(self) -> dict[str, float]:
        """Return how long each step took, and all together."""
        self._end_step()
        self._step = None
        return self.times_ms | {"total": round((time.monotonic() - self._begun_s) * 1e3, 2)}

    def _end_step(self) -> None:
        if self._step is not None:
            self.times_ms[self._step.step] = round(self.times_ms.get(self._step.step, 0) + self._ms(), 2)

    def _ms(self) -> float:
        return round((time.monotonic() - self._step_s) * 1e3, 2)
