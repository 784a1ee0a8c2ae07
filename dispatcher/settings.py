"""How many instances a function may and must have, and how long they are kept, with every default filled in."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from dispatcher.keys import ALWAYS, Reuse
from sandbox.spec import FunctionSpec


class PoolSettings(Struct, frozen=True, kw_only=True):
    """The pool's part of a function's configuration. Durations in seconds."""

    max_instances: int = 8
    """The most instances; each runs `concurrency` calls at a time."""
    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """Calls that one instance runs at a time; more than one needs an async handler."""
    max_waiting: Annotated[int, Meta(ge=0)] = 2048
    """Events that may wait for an instance; any further one is refused at once (429)."""
    max_waiting_memory_bytes: Annotated[int, Meta(ge=0)] = 64 * 1024 * 1024
    """While the waiting events are this large together, any further one is refused at once (429)."""
    max_wait_s: Annotated[float, Meta(ge=0)] = 60.0
    """How long an event may wait before it is refused (503). Default: 1 min, or `timeout` if that is longer."""
    keep_alive_s: Annotated[float, Meta(ge=0)] = 60.0
    """How long an instance is kept after its last invocation."""
    reserved: Annotated[int, Meta(ge=0)] = 0
    """Instances that are always kept."""
    spare: Annotated[int, Meta(ge=0)] = 1
    """Instances that are kept ready, ahead of the events that will need them, while the function is active."""
    reuse: Reuse = ALWAYS
    """Whether an instance serves further events: `"always"`; `"never"`; or `"key:"` and what they must have in common,
    such as `"key:header.x-session"`: [instances.md](instances.md)."""
    max_invocations: int | None = None
    """An instance is replaced after this many. Default: no limit."""
    rest: Literal["template", "none"] = "template"
    """What a function without events keeps: its template, or no process at all."""
    template_keep_alive_s: Annotated[float, Meta(ge=0)] = 600.0
    """With `rest = "none"`: how long the template is kept after the last instance."""

    @property
    def slots(self) -> int:
        """How many events an instance has at once: no more than it may ever run, and one if it is not shared."""
        if self.reuse != ALWAYS:
            return 1
        return min(self.concurrency, self.max_invocations or self.concurrency)


class Function(Struct, frozen=True, kw_only=True):
    """A served function: the version to run, and the settings of its pool."""

    spec: FunctionSpec
    pool: PoolSettings
