"""What each kind of runtime can do: one table, which the rest of the house asks instead of naming kinds.

A template of every kind contains itself and holds what its instances start with. Only that of Python has imported the
function; the instances of other kinds load it themselves, so only the start of one tells whether it loads.
"""

import signal
from typing import Final, Literal

from msgspec import Struct

Kind = Literal["python", "node", "command"]
Form = Literal["lambda", "forklight"]
"""What the events of a command are: those of AWS Lambda, or those of a handler, as JSON."""


class Abilities(Struct, frozen=True, kw_only=True):
    """What a runtime of one kind can do."""

    title: str
    """How messages name it."""
    loading: str = "the import of"
    """What it does with a function before the first event, for messages."""
    unready: str = ""
    """What an instance has not done yet whose start takes too long, for messages."""
    imports_ahead: bool = False
    """Whether templates import the function, so that instances have it by their fork. Otherwise each instance loads it
    and tells so (`ready`, `unfit`), and templates have nothing to rehearse."""
    interrupt: int | None = None
    """The signal at which it prints its stack and ends, even in a loop; None if its stack can be had without an end."""
    aborts_when_full: bool = False
    """Whether it ends by SIGABRT when its heap has all the memory that it may have."""
    has_hooks: bool = False
    """Whether functions may have `hooks`."""
    preloads: bool = False
    """Whether zygotes import libraries for all functions (`preload`)."""
    installs: bool = False
    """Whether `forklight install` makes environments for it (`requirements`)."""
    concurrency: bool = False
    """Whether an instance may run several calls at once."""
    needs_loopback: bool = False
    """Whether an instance speaks to its program over the loopback interface."""


KINDS: Final[dict[Kind, Abilities]] = {
    "python": Abilities(
        title="Python", imports_ahead=True, has_hooks=True, preloads=True, installs=True, concurrency=True
    ),
    "node": Abilities(title="Node.js", concurrency=True, interrupt=signal.SIGINT, aborts_when_full=True),
    "command": Abilities(
        title="a command", loading="the start of", unready="; it has not asked for an event yet", needs_loopback=True
    ),
}
