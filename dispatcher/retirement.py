"""Instances that are replaced because they have reached a limit, `retire_memory` or `max_invocations`."""

from collections.abc import Callable
from typing import Literal

from sandbox.instance import Instance


class Retirement:
    """Of one function. Looks again at the end of a call if an instance had too much memory only while it ran."""

    def __init__(self, retire: Callable[[Instance], None], freed: Callable[[Instance], None]) -> None:
        """`retire` closes a busy instance or ends an idle one, `freed` is its usual `on_free`."""
        self.counts: dict[Literal["memory", "invocations"], int] = {"memory": 0, "invocations": 0}
        """How many were replaced, by the limit."""
        self._retire = retire
        self._freed = freed

    def absorb(self, other: "Retirement") -> None:
        """Count what another version of the function has counted, too."""
        for limit, count in other.counts.items():
            self.counts[limit] += count

    def worn(self, instance: Instance) -> None:
        """Its memory is over `retire_memory` now."""
        if instance.state == "busy":
            instance.on_free = self._freed_worn
        else:
            self._retire_if_worn(instance)

    def _freed_worn(self, instance: Instance) -> None:
        instance.on_free = self._freed
        if instance.is_serving:
            self._retire_if_worn(instance)
        self._freed(instance)

    def _retire_if_worn(self, instance: Instance) -> None:
        if instance.is_worn():
            instance.on_worn = _going_already
            self.counts["memory"] += 1
            self._retire(instance)


def _going_already(_instance: Instance) -> None:
    """The `on_worn` of an instance that is closed, and may have other calls to finish."""
