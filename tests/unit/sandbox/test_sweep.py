"""One timer ticks everything that is watched, at the earliest time that was asked for."""

import asyncio
import time

from sandbox.sweep import Sweep

HOUR_NS = 3600 * 1_000_000_000


class Alarm:
    """Records its ticks; each asks for the next one after the next of `later_ns`."""

    def __init__(self, *later_ns: int | None) -> None:
        self.ticks: asyncio.Queue[int] = asyncio.Queue()
        self._later_ns = list(later_ns)

    def tick(self, now_ns: int) -> int | None:
        self.ticks.put_nowait(now_ns)
        later_ns = self._later_ns.pop(0) if self._later_ns else None
        return None if later_ns is None else now_ns + later_ns


class Remover(Alarm):
    """Removes another one when it is ticked."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__()
        self.others: list[Alarm] = []
        self._sweep = sweep

    def tick(self, now_ns: int) -> int | None:
        for other in self.others:
            self._sweep.remove(other)
        return super().tick(now_ns)


async def test_everything_is_ticked_at_one_time() -> None:
    sweep, alarms = Sweep(), [Alarm(), Alarm()]
    for alarm in alarms:
        sweep.add(alarm)
    sweep.expect(time.monotonic_ns())
    assert await alarms[0].ticks.get() == await alarms[1].ticks.get()


async def test_it_comes_again_at_the_earliest_time_that_was_asked_for() -> None:
    sweep, eager, patient = Sweep(), Alarm(1, 1, 1), Alarm(HOUR_NS)
    sweep.add(patient)
    sweep.add(eager)
    sweep.expect(time.monotonic_ns())
    for _ in range(4):
        await eager.ticks.get()
    sweep.close()
    assert patient.ticks.qsize() == 4


async def test_an_earlier_time_replaces_a_later_one() -> None:
    sweep, alarm = Sweep(), Alarm()
    sweep.add(alarm)
    sweep.expect(time.monotonic_ns() + HOUR_NS)
    sweep.expect(time.monotonic_ns())
    await alarm.ticks.get()


async def test_a_later_time_does_not_put_off_an_earlier_one() -> None:
    sweep, alarm = Sweep(), Alarm()
    sweep.add(alarm)
    sweep.expect(time.monotonic_ns())
    sweep.expect(time.monotonic_ns() + HOUR_NS)
    await alarm.ticks.get()


async def test_a_new_time_is_taken_after_all_was_quiet() -> None:
    sweep, alarm = Sweep(), Alarm()
    sweep.add(alarm)
    for _ in range(2):
        sweep.expect(time.monotonic_ns())
        await alarm.ticks.get()
    assert alarm.ticks.empty()


async def test_what_was_removed_is_not_ticked() -> None:
    sweep, gone, alarm = Sweep(), Alarm(), Alarm()
    for watched in (gone, alarm):
        sweep.add(watched)
    sweep.remove(gone)
    sweep.remove(gone)
    sweep.expect(time.monotonic_ns())
    await alarm.ticks.get()
    assert gone.ticks.empty()


async def test_what_is_removed_by_the_tick_of_another_is_not_ticked_any_more() -> None:
    sweep = Sweep()
    removers = [Remover(sweep) for _ in range(10)]
    for remover in removers:
        remover.others = [other for other in removers if other is not remover]
        sweep.add(remover)
    sweep.expect(time.monotonic_ns())
    waiters = {asyncio.ensure_future(remover.ticks.get()) for remover in removers}
    done, others = await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    assert len(done) == 1


async def test_closed_it_ticks_no_more() -> None:
    sweep, alarm, later = Sweep(), Alarm(), Sweep()
    sweep.add(alarm)
    sweep.expect(time.monotonic_ns())
    sweep.close()
    sweep.close()
    witness = Alarm()
    later.add(witness)
    later.expect(time.monotonic_ns())
    await witness.ticks.get()
    assert alarm.ticks.empty()


class Broken(Alarm):
    """Fails in its tick."""

    def tick(self, now_ns: int) -> int | None:
        super().tick(now_ns)
        raise RuntimeError("a bug")


async def test_one_that_fails_does_not_take_the_others_deadlines_with_it() -> None:
    sweep, others, failures = Sweep(), [Alarm(), Alarm(), Alarm()], asyncio.Queue[dict[str, object]]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.put_nowait(context))
    for alarm in (*others, Broken()):
        sweep.add(alarm)
    sweep.expect(time.monotonic_ns())
    for alarm in others:
        await alarm.ticks.get()
    assert str((await failures.get())["exception"]) == "a bug"
    sweep.close()
