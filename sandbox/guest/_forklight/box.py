"""The step where a template enters its box, before it drops anything and long before it imports.

At level `limits` a box is no namespaces at all: the session and the rlimits are the whole of it.
"""


def enter(pidfd: int | None) -> None:
    """Enter the namespaces of the process behind `pidfd`; None is the box of level `limits`, which has none."""
    if pidfd is not None:
        raise RuntimeError("this guest has no boxes: the dispatcher must not ask for one")
