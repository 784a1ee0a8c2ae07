"""Pools of tests: every kind of settings, and one that a test puts behind the bus itself."""

from collections.abc import Callable

from hypothesis import strategies as st

from dispatcher.settings import PoolSettings

pool_settings = st.builds(
    PoolSettings,
    max_instances=st.integers(1, 4),
    concurrency=st.sampled_from([1, 1, 2, 3]),
    max_invocations=st.sampled_from([None, None, 2]),
    max_waiting=st.integers(0, 4),
    max_waiting_memory_bytes=st.sampled_from([0, 2, 1000]),
    max_wait_s=st.sampled_from([0.0, 2.0, 10.0]),
    keep_alive_s=st.sampled_from([0.0, 1.0, 10.0]),
    spare=st.sampled_from([0, 1, 1, 2]),
    reserved=st.integers(0, 3),
    rest=st.sampled_from(["template", "none"]),
    template_keep_alive_s=st.sampled_from([0.0, 3.0]),
)


class Roomy:
    """A pool that always has the same room, and needs to make nothing ready."""

    def __init__(self, room: int = 1) -> None:
        self._room = room

    def capacity(self) -> int:
        return self._room

    def on_capacity(self, callback: Callable[[], None]) -> None:
        """It never rises from 0."""

    def expect(self, at_ns: int) -> None:
        """An instance is always ready."""
