"""The runtimes that functions must behave alike in, and what the table of kinds lets each of them leave out."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sandbox.spec import Runtime
from tests.kit.nodes import has_snapshots, node_runtime, release
from tests.kit.rounds import LONG


class Subject(NamedTuple):
    """One runtime, as `sandbox/kinds.py` has its kind."""

    name: str
    runtime: "Callable[[Path], Runtime]"
    """Given the interpreter of templates."""
    handler: str
    """How one is named, with `{}` for its name."""
    file: str
    """How a handler in a file of that name is named."""
    survives: bool
    """Whether an instance goes on after a call that obeyed at its deadline."""
    broken_code: str
    """The code of a function that cannot begin."""
    has_levels: bool = True
    """Whether it has a logger with levels."""
    is_whole: bool = True
    """Whether a signal that its handler sends itself is the end of the whole instance."""


def subjects() -> "list[Subject]":
    """Those that this machine has."""
    python = Subject(
        name="python",
        runtime=lambda own: Runtime(name="default", python=own),
        handler="function:{}",
        file="{}:handler",
        survives=True,
        broken_code="InitFailed",
    )
    command = Subject(
        name="command",
        runtime=lambda own: Runtime(
            name="command", kind="command", python=own, command=("./bootstrap",), events="forklight"
        ),
        handler="{}",
        file="{}",
        survives=False,
        broken_code="InitFailed",
        has_levels=False,
    )
    found = [python, command]
    if release():
        found.append(_node("node", snapshot=False))
    if has_snapshots() and LONG:
        found.append(_node("snapshot", snapshot=True))
    return found


def _node(name: str, *, snapshot: bool) -> Subject:
    return Subject(
        name=name,
        runtime=lambda own: node_runtime(own, snapshot=snapshot),
        handler="function:{}",
        file="{}:handler",
        survives=True,
        broken_code="InitFailed",
    )
