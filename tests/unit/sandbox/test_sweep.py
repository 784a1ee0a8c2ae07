"""One timer ticks everything that is watched, each when it is due."""

import asyncio
import time
import weakref

from sandbox.sweep import TURN_NS, Sweep

HOUR_NS = 3600 * 1_000_000_000


class Alarm:
    """Records its ticks; each asks for the next one after the next of `later_ns`."""

    def __init__(self, sweep: Sweep, *later_ns: int | None) -> None:
        self.ticks: asyncio.Queue[int] = asyncio.Queue()
        self.watch = sweep.watch(self)
        self._later_ns = list(later_ns)

    def tick(self, now_ns: int) -> int | None:
        self.ticks.put_nowait(now_ns)
        later_ns = self._later_ns.pop(0) if self._later_ns else None
        return None if later_ns is None else now_ns + later_ns

    def expect(self, in_ns: int = 0) -> None:
        self.watch.expect(time.monotonic_ns() + in_ns)


class Remover(Alarm):
    """Ends the watches of others when it is ticked."""

    others: list[Alarm]

    def tick(self, now_ns: int) -> int | None:
        for other in self.others:
            other.watch.end()
        return super().tick(now_ns)


async def test_only_what_is_due_is_ticked() -> None:
    sweep = Sweep()
    due, patient, quiet = Alarm(sweep), Alarm(sweep), Alarm(sweep)
    patient.expect(HOUR_NS)
    for _ in range(3):
        due.expect()
        await due.ticks.get()
    sweep.close()
    assert (patient.ticks.qsize(), quiet.ticks.qsize()) == (0, 0)


async def test_it_comes_again_when_the_tick_asks_for_it() -> None:
    eager = Alarm(Sweep(), 1, 0, -1)
    eager.expect()
    for _ in range(4):
        await eager.ticks.get()
    assert eager.ticks.empty()


async def test_an_earlier_time_replaces_a_later_one() -> None:
    alarm = Alarm(Sweep())
    alarm.expect(HOUR_NS)
    alarm.expect()
    await alarm.ticks.get()


async def test_a_later_time_does_not_put_off_an_earlier_one_nor_does_anothers() -> None:
    sweep = Sweep()
    alarm, other = Alarm(sweep), Alarm(sweep)
    alarm.expect()
    alarm.expect(HOUR_NS)
    other.expect(HOUR_NS)
    await alarm.ticks.get()
    assert other.ticks.empty()


async def test_a_time_that_was_put_forward_is_not_a_second_tick() -> None:
    sweep = Sweep()
    alarm, witness = Alarm(sweep), Alarm(sweep)
    alarm.expect(2_000_000)
    alarm.expect(1_000_000)
    witness.expect(3_000_000)
    await witness.ticks.get()
    assert alarm.ticks.qsize() == 1


async def test_a_new_time_is_taken_after_all_was_quiet() -> None:
    alarm = Alarm(Sweep())
    for _ in range(2):
        alarm.expect()
        await alarm.ticks.get()
    assert alarm.ticks.empty()


async def test_what_has_ended_is_neither_ticked_nor_kept_alive() -> None:
    sweep = Sweep()
    gone, alarm = Alarm(sweep), Alarm(sweep)
    ticks, remembered = gone.ticks, weakref.ref(gone)
    gone.expect()
    for _ in range(2):
        gone.watch.end()
    gone.expect()
    del gone
    assert remembered() is None
    alarm.expect()
    await alarm.ticks.get()
    assert ticks.empty()


async def test_what_is_ended_by_the_tick_of_another_is_not_ticked_any_more() -> None:
    sweep = Sweep()
    removers = [Remover(sweep) for _ in range(10)]
    now_ns = time.monotonic_ns()
    for remover in removers:
        remover.others = [other for other in removers if other is not remover]
        remover.watch.expect(now_ns)
    waiters = {asyncio.ensure_future(remover.ticks.get()) for remover in removers}
    done, others = await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    assert len(done) == 1


class Slow(Alarm):
    """Takes a whole turn for its tick."""

    def tick(self, now_ns: int) -> int | None:
        while time.monotonic_ns() < now_ns + TURN_NS:
            pass
        return super().tick(now_ns)


async def test_what_is_due_at_once_leaves_turns_of_the_loop_to_others() -> None:
    sweep, turns = Sweep(), 0
    alarms = [Slow(sweep) for _ in range(5)]

    def count_turn() -> None:
        nonlocal turns
        turns += 1
        if any(alarm.ticks.empty() for alarm in alarms):
            asyncio.get_running_loop().call_soon(count_turn)

    for alarm in alarms:
        alarm.expect()
    count_turn()
    for alarm in alarms:
        await alarm.ticks.get()
    assert turns >= len(alarms)


async def test_closed_it_ticks_no_more() -> None:
    sweep = Sweep()
    alarm, witness = Alarm(sweep), Alarm(Sweep())
    alarm.expect()
    sweep.close()
    sweep.close()
    alarm.expect(-1)
    witness.expect()
    await witness.ticks.get()
    assert alarm.ticks.empty()


class Broken(Alarm):
    """Fails in its tick."""

    def tick(self, now_ns: int) -> int | None:
        super().tick(now_ns)
        raise RuntimeError("a bug")


async def test_one_that_fails_does_not_take_the_others_deadlines_with_it() -> None:
    sweep, failures = Sweep(), asyncio.Queue[dict[str, object]]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.put_nowait(context))
    alarms = [Broken(sweep), Alarm(sweep), Alarm(sweep)]
    for alarm in alarms:
        alarm.expect()
    for alarm in alarms:
        await alarm.ticks.get()
    assert str((await failures.get())["exception"]) == "a bug"
