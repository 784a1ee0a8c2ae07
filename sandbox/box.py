"""The box a template enters before it imports anything. At level `limits` there are no namespaces, so there is none.

`Box.pidfd` names the process whose namespaces the template enters; it travels with the `template` request. The step is
made in the guest (`_forklight/box.py`) in its final place: after closing descriptors, before everything else.
"""

from msgspec import Struct


class Box(Struct, frozen=True):
    """What a template needs to enter its box; None: the box of level `limits`, the session and the rlimits alone."""

    pidfd: int | None = None


NO_BOX = Box()
