"""The box that a template enters before it imports anything. Level `limits` has no namespaces, and so no box.

`Box.pidfd` names the process whose namespaces the template enters; it travels with the `template` request. The guest
(`_forklight/box.py`) enters it right after closing inherited descriptors and before anything else.
"""

from msgspec import Struct


class Box(Struct, frozen=True):
    """How a template enters its box. `pidfd` None: level `limits`, which has a session and rlimits, no namespaces."""

    pidfd: int | None = None


NO_BOX = Box()
