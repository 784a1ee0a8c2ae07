"""Pools of one function's versions: together they have no more instances than one may, and none starves."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.actions import Action, Assign, Leave, Start
from dispatcher.joint import Joint
from dispatcher.keys import ALWAYS, Reuse
from dispatcher.pool import Pool
from dispatcher.settings import PoolSettings

S = 1_000_000_000
MS = 1_000_000

settings_of_a_version = st.builds(
    PoolSettings,
    max_instances=st.integers(1, 3),
    spare=st.integers(0, 1),
    reserved=st.integers(0, 1),
    concurrency=st.integers(1, 2),
    keep_alive_s=st.sampled_from([0.0, 1.0, 60.0]),
    reuse=st.sampled_from([ALWAYS, Reuse("never")]),
)
steps = st.lists(
    st.tuples(st.sampled_from(["event", "event", "start", "end", "die", "look", "time"]), st.integers(0, 10)),
    max_size=60,
)


class House:
    """Several pools, and the I/O around them: starts and deaths take as long as the test wants."""

    def __init__(self, versions: list[PoolSettings]) -> None:
        self.now_ns = 0
        self.most = versions[0].max_instances
        self.joint: Joint[int] = Joint(self.most)
        self.pools: list[Pool[int, int]] = []
        self.starting: deque[Pool[int, int]] = deque()
        self.dying: deque[tuple[Pool[int, int], int]] = deque()
        self.running: deque[tuple[Pool[int, int], int]] = deque()
        self.served: set[int] = set()
        self.count = self.accepted = self.begun = 0
        for version in versions:
            pool: Pool[int, int] = Pool(version, 0)
            pool.joint = self.joint
            self.pools.append(pool)
            self.joint.set_pools(self.pools)
            self.do(pool, pool.tick(0))

    def do(self, pool: "Pool[int, int]", actions: "list[Action[int, int]]") -> None:
        for action in actions:
            match action:
                case Start():
                    self.starting.append(pool)
                case Leave(member):
                    self.dying.append((pool, member))
                case Assign(_, member):
                    self.begun += 1
                    self.served.add(member)
                    self.running.append((pool, member))
        assert sum(map(self.counting, self.pools)) <= self.most

    def counting(self, pool: "Pool[int, int]") -> int:
        """Of a pool whose instances are not shared, those count that have served; the others are spares."""
        if pool.settings.reuse == ALWAYS:
            return pool.living()
        return len(self.served.intersection(pool.members()))

    def event(self, pick: int) -> None:
        pool = self.pools[pick % len(self.pools)]
        self.now_ns += 1
        self.accepted += 1
        member = pool.take()
        if member is None:
            self.do(pool, pool.wait(self.accepted, self.now_ns, self.now_ns))
        else:
            self.do(pool, [Assign(self.accepted, member)])

    def start(self) -> None:
        if self.starting:
            pool = self.starting.popleft()
            self.count += 1
            self.do(pool, pool.started(self.count, self.now_ns))

    def end(self) -> None:
        if self.running:
            pool, member = self.running.popleft()
            self.do(pool, pool.freed(member, self.now_ns))

    def die(self) -> None:
        if self.dying:
            pool, member = self.dying.popleft()
            self.do(pool, pool.died(member, self.now_ns, 0))

    def look(self) -> None:
        """As the family does."""
        for pool, member in self.joint.given_up(self.now_ns):
            assert isinstance(pool, Pool)
            self.do(pool, pool.retire(member, self.now_ns))
        for pool in self.pools:
            if pool.lacking(self.now_ns):
                self.do(pool, pool.tick(self.now_ns))

    def step(self, what: str, pick: int) -> None:
        match what:
            case "event":
                self.event(pick)
            case "time":
                self.now_ns += pick * 300 * MS
                for pool in self.pools:
                    self.do(pool, pool.tick(self.now_ns))
            case _:
                getattr(self, what)()


@pytest.mark.invariant("I6")
@given(versions=st.lists(settings_of_a_version, min_size=2, max_size=3), steps=steps)
def test_pools_that_share_a_limit_keep_it_and_let_one_another_run(
    versions: list[PoolSettings], steps: list[tuple[str, int]]
) -> None:
    house = House(versions)
    for what, pick in steps:
        house.step(what, pick)
    for _ in range(house.accepted * 60 + 60):  # a turn of a busy pool takes a second, 50 looks
        while house.starting or house.dying or house.running:
            house.start()
            house.end()
            house.die()
        house.now_ns += 20 * MS
        house.look()
    assert not any(pool.statistics().waiting for pool in house.pools)
    assert house.begun == house.accepted
