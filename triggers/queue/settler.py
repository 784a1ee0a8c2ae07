"""Settles messages, in one synchronous run or in a task, and reports them once they are settled."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bus.bus import Bus
from bus.event import Event
from bus.invocation import Invocation, QueueVerdict
from bus.message import Delivery, Outgoing
from bus.outcome import ExceptionName, Failed, Ok, Outcome
from bus.outputs import unroutable
from bus.retry import Ack, Decision, Release, decide
from bus.store import RefusedError, Settlement, StoreError
from triggers.queue.codec import bare_event, identified
from triggers.queue.pace import Pace
from triggers.queue.settings import QueueTrigger
from triggers.queue.settling import age_s, settlements

log = logging.getLogger(__name__)


class Conclusion(NamedTuple):
    """What was decided about the messages of one event. `outcome` is None if it did not run."""

    event: Event
    outcome: Outcome | None
    deliveries: Sequence[Delivery]
    decisions: Sequence[Decision]
    outputs: tuple[Outgoing, ...] = ()


class Settler:
    """Shared by all messages of a consumer. Assign `pace` before the first one."""

    pace: Pace

    def __init__(
        self,
        bus: Bus,
        trigger: QueueTrigger,
        settled: Counter[type[Decision]],
        now_s: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        """`settled` counts decisions once they are carried out."""
        self._bus = bus
        self._trigger = trigger
        self._settled = settled
        self.now_s = now_s
        self.draw = draw
        self._is_logged = log.isEnabledFor(logging.DEBUG)

    def decided(
        self, event: Event, delivery: Delivery, outcome: Outcome, outputs: tuple[Outgoing, ...] = ()
    ) -> Conclusion:
        """Decide about the message of an event that ran."""
        age = age_s(delivery, self.now_s())
        decision = decide(outcome, delivery.attempt, age, self._trigger.retry, self.draw())
        return Conclusion(event, outcome, (delivery,), (decision,), outputs)

    def settle_soon(self, conclusion: Conclusion, done: Callable[[StoreError | None], None]) -> bool:
        """Hand the settlement of a single message to its store, unless that takes waiting: return whether it has it.

        `done` is called when it is settled, or with the error if it could not be. Raises RefusedError if an output can
        never be stored.
        """
        [delivery], [decision] = conclusion.deliveries, conclusion.decisions
        if type(decision) is Release:
            return False
        outputs = conclusion.outputs if type(decision) is Ack else ()
        return self._bus.settle_soon(self._trigger.broker, Settlement(delivery, decision, outputs), done)

    async def settle(self, conclusion: Conclusion) -> None:
        """Settle, however long it takes, and report. Raises RefusedError if an output can never be stored."""
        pauses_s = [decision.pause_s for decision in conclusion.decisions if isinstance(decision, Release)]
        if pauses_s:
            await self.pace.hold(max(pauses_s))  # before settling, or the released message would come back at once
        steps = settlements(conclusion.deliveries, conclusion.decisions, conclusion.outputs)
        await self._bus.settle(self._trigger.broker, steps)
        self.note(conclusion)

    async def settle_single(self, conclusion: Conclusion) -> None:
        """Settle a single message; if an output is refused, the attempt has failed."""
        try:
            await self.settle(conclusion)
        except RefusedError as error:
            if conclusion.outcome is None:
                raise
            outcome = refused(conclusion.outcome, error)
            await self.settle(self.decided(conclusion.event, conclusion.deliveries[0], outcome))

    async def give_up(self, deliveries: Sequence[Delivery], error: Exception) -> None:
        """Fail messages that we could not handle. Settling a message twice has no effect."""
        trigger, code = self._trigger, ExceptionName(type(error).__name__)
        outcome = Failed(kind="error", code=code, message=str(error))
        text = "queue %s: handling a message failed unexpectedly; please report this"
        log.error(text, trigger.queue, exc_info=error)
        for delivery in deliveries:
            known = identified(delivery)
            await self.settle(self.decided(bare_event(known, trigger), known, outcome))

    def note(self, conclusion: Conclusion) -> None:
        """Count and report what is settled."""
        for decision in conclusion.decisions:
            self._settled[type(decision)] += 1
        if self._is_logged:
            for delivery, decision in zip(conclusion.deliveries, conclusion.decisions, strict=True):
                log.debug("queue %s: message %s: %r", self._trigger.queue, delivery.message.id, decision)
        self.report(conclusion.event, conclusion.outcome, conclusion.decisions)

    def report(self, event: Event, outcome: Outcome | None, decisions: Sequence[Decision]) -> None:
        self._bus.report(Invocation(event, outcome, QueueVerdict(tuple(decisions))))


def refused(outcome: Outcome, error: RefusedError) -> Outcome:
    """Turn the outcome into the failure of a refused output; only an `Ok` has outputs."""
    return unroutable(outcome, error) if isinstance(outcome, Ok) else outcome
