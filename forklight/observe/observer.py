"""Everything that remembers invocations, in one place: it subscribes to the bus, and the admin API reads it."""

from collections.abc import Mapping, Sequence

from bus.bus import Bus
from dispatcher.machine_state import MachineState
from dispatcher.records import Record
from forklight.observe import metrics
from forklight.observe.journal import Journal
from forklight.observe.kept.history import History
from forklight.observe.kept.keeper import Keeper
from forklight.observe.status import FunctionStatus, QueueStatus, Reloaded, Usage
from forklight.observe.tally import Tally
from triggers.timer.work import TimerStatistics


class Observer:
    """`records` are the dispatcher's own counters: a trigger may report another outcome than that of the run."""

    def __init__(self, journal: Journal, records: Mapping[str, Record], keeper: Keeper | None = None) -> None:
        self.journal = journal
        self.history = History(journal, keeper)
        self.tally = Tally()
        self._records = records

    def subscribe_to(self, bus: Bus) -> None:
        """Count and log everything that is reported to `bus` from now on."""
        bus.subscribe(self.tally.report)
        if not self.journal.is_quiet:
            bus.subscribe(self.journal.report)

    def metrics(
        self,
        functions: Sequence[FunctionStatus],
        queues: Sequence[QueueStatus],
        timers: Sequence[TimerStatistics] = (),
        reloaded: Reloaded | None = None,
        usage: Usage | None = None,
        *,
        machine: MachineState | None = None,
    ) -> metrics.Families:
        """Return all metrics as they are now."""
        return metrics.gather(
            self._records, functions, queues, self.tally, timers, reloaded=reloaded, usage=usage, machine=machine
        )
