"""The step in which a template enters its box, long before it imports anything.

Level `limits` has no namespaces: its box is the session and the rlimits, which the template sets itself.
"""


def enter(pidfd: int | None) -> None:
    """Enter the namespaces of the process behind `pidfd`; None is level `limits`, which has none."""
    if pidfd is not None:
        raise RuntimeError("this guest cannot enter namespaces: the server must not ask for it")
